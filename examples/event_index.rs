//! A log of events and an index over it, in two buckets that one batch keeps in step.
//!
//! ```text
//! cargo run --example event_index
//! ```

use trine_kv::{Bucket, Db, DbOptions, KeyRange, Result, WriteBatch, WriteOptions};

struct Events {
    db: Db,
    /// time -> user, 0, text
    log: Bucket,
    /// user, 0, time -> nothing
    by_user: Bucket,
}

impl Events {
    fn open(options: DbOptions) -> Result<Self> {
        let db = Db::open_sync(options)?;
        Ok(Self {
            log: db.bucket_sync("log")?,
            by_user: db.bucket_sync("by_user")?,
            db,
        })
    }

    /// Both rows or none: no reader, and no crash, ever finds one without the other.
    fn record(&self, time: u64, user: &str, text: &str) -> Result<()> {
        let mut batch = WriteBatch::new();
        batch.put_bucket("log", time.to_be_bytes(), format!("{user}\0{text}"))?;
        batch.put_bucket("by_user", index_key(user, time), "")?;
        self.db.write_sync(batch, WriteOptions::buffered())?;
        Ok(())
    }

    /// The newest events of a user, newest first.
    fn newest_of(&self, user: &str, count: usize) -> Result<Vec<(u64, String)>> {
        // Index and log as of one moment.
        let snapshot = self.db.snapshot();
        let mut found = Vec::new();
        let index = snapshot.prefix_reverse_sync(&self.by_user, index_key_prefix(user))?;
        for row in index.take(count) {
            let key = row?.key;
            let time = &key[key.len() - 8..];
            let event = snapshot.get_sync(&self.log, time)?.unwrap_or_default();
            found.push((time_of(time), text_of(&event)));
        }
        Ok(found)
    }

    /// Forgets everything before a time, the index included. Gives back how many events there were.
    /// Times only rise, so no event comes in before that time meanwhile.
    fn forget_before(&self, time: u64) -> Result<usize> {
        let old = KeyRange::half_open(Vec::new(), time.to_be_bytes());
        let mut batch = WriteBatch::new();
        let mut forgotten = 0;
        for row in self.log.range_sync(&old)? {
            let row = row?;
            let user = row.value.split(|byte| *byte == 0).next();
            let user = String::from_utf8_lossy(user.unwrap_or_default());
            batch.delete_bucket("by_user", index_key(&user, time_of(&row.key)))?;
            forgotten += 1;
        }
        // One entry for all of them.
        batch.delete_range_bucket("log", old)?;
        self.db.write_sync(batch, WriteOptions::sync_all())?;
        Ok(forgotten)
    }
}

fn index_key_prefix(user: &str) -> Vec<u8> {
    [user.as_bytes(), &[0]].concat()
}

fn index_key(user: &str, time: u64) -> Vec<u8> {
    [user.as_bytes(), &[0], &time.to_be_bytes()].concat()
}

fn time_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn text_of(event: &[u8]) -> String {
    let text = event.splitn(2, |byte| *byte == 0).nth(1);
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let events = Events::open(DbOptions::new(directory.path()))?;
    for hour in 0..24 {
        let user = ["ada", "grace", "ada lovelace"][hour % 3];
        let time = 1_000 + u64::try_from(hour).unwrap_or_default();
        events.record(time, user, &format!("event of hour {hour}"))?;
    }
    println!("the newest of ada:");
    for (time, text) in events.newest_of("ada", 3)? {
        println!("  {time}  {text}");
    }
    println!("forgotten: {}", events.forget_before(1_016)?);
    println!("left of ada:");
    for (time, text) in events.newest_of("ada", 10)? {
        println!("  {time}  {text}");
    }
    events.db.close_sync();
    Ok(())
}
