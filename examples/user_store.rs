//! A repository over a database: the application speaks of users, only the store speaks of keys.
//!
//! ```text
//! cargo run --example user_store
//! ```
//!
//! Each address belongs to one user. The store keeps that rule with a second bucket, from address to
//! user, and with transactions: what they read is checked when they commit.

use trine_kv::{Bucket, Db, DbOptions, Error, Result, TransactionOptions};

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    id: u64,
    name: String,
    address: String,
}

struct UserStore {
    db: Db,
    users: Bucket,
    addresses: Bucket,
}

impl UserStore {
    fn open(options: DbOptions) -> Result<Self> {
        let db = Db::open_sync(options)?;
        Ok(Self {
            users: db.bucket_sync("users")?,
            addresses: db.bucket_sync("addresses")?,
            db,
        })
    }

    /// Adds the user, or changes the one with its number. `false`: the address is another's.
    fn save(&self, user: &User) -> Result<bool> {
        loop {
            let mut transaction = self.db.transaction(TransactionOptions::default());
            let id = user.id.to_be_bytes();
            let holder = transaction.get_bucket_sync("addresses", user.address.as_bytes())?;
            if holder.is_some_and(|holder| holder != id) {
                return Ok(false);
            }
            if let Some(before) = transaction.get_bucket_sync("users", &id)? {
                transaction.delete_bucket("addresses", decode(user.id, &before).address)?;
            }
            transaction.put_bucket("users", id, encode(user))?;
            transaction.put_bucket("addresses", &*user.address, id)?;
            match transaction.commit_sync() {
                Err(Error::Conflict { .. }) => {} // Somebody was faster: look again.
                result => return result.map(|_| true),
            }
        }
    }

    fn by_id(&self, id: u64) -> Result<Option<User>> {
        // Decodes the value where it lies, without copying it first.
        self.users
            .get_with_sync(&id.to_be_bytes(), |value| decode(id, value))
    }

    fn by_address(&self, address: &str) -> Result<Option<User>> {
        match self.addresses.get_sync(address.as_bytes())? {
            Some(id) => self.by_id(number(&id)),
            None => Ok(None),
        }
    }

    /// All users by number: keys are big-endian, so their order is that of the numbers.
    fn all(&self) -> Result<impl Iterator<Item = Result<User>>> {
        let rows = self.users.prefix_sync("")?;
        Ok(rows.map(|row| row.map(|row| decode(number(&row.key), &row.value))))
    }
}

fn encode(user: &User) -> Vec<u8> {
    format!("{}\n{}", user.name, user.address).into_bytes()
}

fn decode(id: u64, value: &[u8]) -> User {
    let text = String::from_utf8_lossy(value);
    let (name, address) = text.split_once('\n').unwrap_or((&text, ""));
    User {
        id,
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = UserStore::open(DbOptions::new(directory.path()))?;
    let user = |id, name: &str, address: &str| User {
        id,
        name: name.to_owned(),
        address: address.to_owned(),
    };
    store.save(&user(7, "Ada", "ada@example.org"))?;
    store.save(&user(300, "Grace", "grace@example.org"))?;
    let taken = !store.save(&user(8, "Another Ada", "ada@example.org"))?;
    println!("ada@example.org is taken: {taken}");

    store.save(&user(7, "Ada", "countess@example.org"))?;
    println!("7 is {:?}", store.by_id(7)?);
    println!(
        "ada@example.org is {:?}",
        store.by_address("ada@example.org")?
    );
    for user in store.all()? {
        let user = user?;
        println!("{:>4}  {}  {}", user.id, user.name, user.address);
    }
    store.db.close_sync();
    Ok(())
}
