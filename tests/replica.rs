//! A database and its replica, killed together at random moments: the replica goes on where it was and ends up the same.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use trine_kv::{Db, DbOptions, DurabilityMode, KeyRange, Result, WriteBatch, WriteOptions};

mod common {
    pub(crate) mod random;
}
#[path = "../examples/replica.rs"]
#[expect(dead_code, reason = "the example's own main")]
mod replica;
use common::random::{Random, seed};

const DIRECTORY: &str = "TRINE_REPLICA_DIRECTORY";
const COMMITS_MAX: u64 = 20_000;
const HEAD: &[u8] = b"head";

fn open(home: &Path) -> (Db, Db) {
    let small = |options: DbOptions| DbOptions {
        write_buffer_bytes: 8192,
        durability: DurabilityMode::Buffered,
        ..options
    };
    let primary = Db::open_sync(small(replica::primary_options(&home.join("primary")))).unwrap();
    let replica = Db::open_sync(small(replica::options(&home.join("replica")))).unwrap();
    primary.bucket_sync("other").unwrap();
    primary
        .bucket_with_options_sync("counters", replica::counters())
        .unwrap();
    (primary, replica)
}

/// Commit `stamp`, whose sequence is the stamp, too.
fn commit(primary: &Db, stamp: u64) -> Result<()> {
    let mut random = Random(stamp);
    if stamp.is_multiple_of(70) && !stamp.is_multiple_of(50) {
        let rows = (0..20).map(|row| (format!("key {row:03}"), stamp.to_le_bytes()));
        let counters = primary.existing_bucket("counters")?;
        return counters.bulk_load_sync(rows).map(drop);
    }
    if stamp.is_multiple_of(50) {
        let rows = (0..40).map(|row| (format!("key {row:03}"), stamp.to_le_bytes()));
        let head = (
            String::from_utf8_lossy(HEAD).into_owned(),
            stamp.to_le_bytes(),
        );
        return primary.bulk_load_sync(rows.chain([head])).map(drop);
    }
    let mut batch = WriteBatch::new();
    batch.put(HEAD, stamp.to_le_bytes());
    for _ in 0..=random.next() % 4 {
        let key = format!("key {:03}", random.next() % 200);
        match random.next() % 10 {
            0 => batch.delete(key),
            1 => batch.delete_range(KeyRange::prefix(&key[..6])),
            2 => batch.put_bucket("other", key, vec![b'o'; 300])?,
            // In a hundred years, and long ago.
            3 => batch.put_until(key, stamp.to_le_bytes(), 5_000_000_000_000),
            4 => batch.put_until_bucket("other", key, "gone", 1)?,
            5 | 6 => batch.merge_bucket("counters", key, stamp.to_le_bytes())?,
            _ => batch.put(key, stamp.to_le_bytes()),
        }
    }
    primary
        .write_sync(batch, WriteOptions::buffered())
        .map(drop)
}

fn rows(db: &Db, name: &str) -> Vec<trine_kv::KeyValue> {
    let bucket = match name {
        "default" => db.default_bucket_sync(),
        name => db.existing_bucket(name),
    };
    let rows = bucket.unwrap().range_sync(&KeyRange::all()).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Does nothing unless the other test started it.
#[test]
fn pair_that_gets_killed() {
    let Some(home) = env::var_os(DIRECTORY) else {
        return;
    };
    let (primary, replica) = open(Path::new(&home));
    let last = primary.last_committed_sequence().get();
    std::io::stdout().write_all(b"\n").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| replica::follow(&primary, &replica, |_| false).unwrap());
        for stamp in last + 1..last + COMMITS_MAX {
            commit(&primary, stamp).unwrap();
            let mut out = std::io::stdout().lock();
            out.write_all(b"ack\n").unwrap();
            out.flush().unwrap();
        }
        primary.close_sync();
    });
}

#[test]
fn a_replica_survives_kills_of_both_and_loses_nothing() {
    let mut random = Random(seed("replica"));
    let home = tempfile::tempdir().unwrap();
    let rounds = env::var("TRINE_KILL_ROUNDS").map_or(5, |text| text.parse().unwrap());
    for round in 0..rounds {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "pair_that_gets_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIRECTORY, home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let wanted = usize::try_from(1 + random.next() % 200).unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let acknowledged = out
            .lines()
            .map(std::io::Result::unwrap)
            .filter(|line| line == "ack");
        assert_eq!(
            acknowledged.take(wanted).count(),
            wanted,
            "it ended by itself"
        );
        child.kill().unwrap();
        child.wait().unwrap();

        let (primary, replica) = open(home.path());
        let last = primary.last_committed_sequence();
        if let Some(at) = replica::position(&replica).unwrap() {
            assert!(at <= last, "round {round}: the replica is ahead");
            let head = replica.get_sync(HEAD).unwrap();
            let head = head.map_or(0, |head| u64::from_le_bytes(head.try_into().unwrap()));
            // A load shows rows as they are when it is applied; one that was cut off changes nothing.
            assert!(head + 1 >= at.get(), "round {round}: {head} at {at:?}");
        }
        replica::follow(&primary, &replica, |at| at >= last).unwrap();
        for name in ["default", "other", "counters"] {
            assert_eq!(
                rows(&primary, name),
                rows(&replica, name),
                "round {round}, {name}"
            );
        }
    }
}
