//! Optimistic transactions: read, stage, commit, and begin again if somebody was faster.
//!
//! ```text
//! cargo run --example transactions
//! ```

use trine_kv::{Db, DbOptions, Error, Result, Transaction, TransactionOptions};

const ACCOUNTS: u64 = 5;
const THREADS: u64 = 4;
const TRANSFERS: u64 = 100;

/// Runs `body` in transactions until one commits.
///
/// A conflict means that another transaction has committed, so all together always get on. `body` may
/// run several times: it must have no effects but on its transaction.
fn transact<T>(db: &Db, body: impl Fn(&mut Transaction) -> Result<T>) -> Result<T> {
    loop {
        let mut transaction = db.transaction(TransactionOptions::default());
        let value = body(&mut transaction)?;
        match transaction.commit_sync() {
            Err(Error::Conflict { .. }) => {}
            result => return result.map(|_| value),
        }
    }
}

fn key(account: u64) -> Vec<u8> {
    format!("account/{account}").into_bytes()
}

fn amount(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_le_bytes)
}

/// Gives back whether there was enough to transfer.
fn transfer(db: &Db, from: u64, to: u64, sum: u64) -> Result<bool> {
    transact(db, |transaction| {
        let balance = transaction.get_sync(&key(from))?.map_or(0, |v| amount(&v));
        let Some(rest) = balance.checked_sub(sum).filter(|_| from != to) else {
            return Ok(false);
        };
        let other = transaction.get_sync(&key(to))?.map_or(0, |v| amount(&v));
        transaction.put(key(from), rest.to_le_bytes());
        transaction.put(key(to), (other + sum).to_le_bytes());
        Ok(true)
    })
}

fn total(db: &Db) -> Result<u64> {
    let rows = db.prefix_sync("account/")?;
    rows.map(|row| Ok(amount(&row?.value))).sum()
}

fn work(db: &Db, thread: u64) -> Result<u64> {
    let mut made = 0;
    for step in 0..TRANSFERS {
        let (from, to) = ((thread + step) % ACCOUNTS, (thread * step) % ACCOUNTS);
        made += u64::from(transfer(db, from, to, step % 40)?);
    }
    Ok(made)
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let db = Db::open_sync(DbOptions::new(directory.path()))?;
    transact(&db, |opening| {
        for account in 0..ACCOUNTS {
            opening.put(key(account), 100_u64.to_le_bytes());
        }
        Ok(())
    })?;
    println!("total before: {}", total(&db)?);

    let made: Result<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let db = &db;
                scope.spawn(move || work(db, thread))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Ok(0)))
            .sum()
    });
    println!("{} of {} transfers had cover", made?, THREADS * TRANSFERS);
    println!("total after:  {}", total(&db)?);
    db.close_sync();
    Ok(())
}
