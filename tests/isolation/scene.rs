//! A database for one story, and short words for what its transactions do.

use tempfile::TempDir;
use trine_kv::{
    Db, DbOptions, DurabilityMode, Error, KeyRange, Snapshot, Transaction, TransactionOptions,
    WriteBatch, WriteOptions,
};

use crate::common::way::{Way, call};

pub(crate) const BOTH_WAYS: [Way; 2] = [Way::Sync, Way::Async];

/// What happens to the rows after every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    Flush,
    FlushAndCompact,
}

/// One database, called one way.
pub(crate) struct Scene {
    pub(crate) db: Db,
    pub(crate) way: Way,
    between: Between,
    _directory: Option<TempDir>,
}

/// Plays a story in memory and on disk, with the rows in memtables, in tables and in merged tables;
/// through each half of the interface with and without maintenance.
pub(crate) fn everywhere(story: impl Fn(&Scene)) {
    for way in BOTH_WAYS {
        let db = way.open(DbOptions::memory()).unwrap();
        story(&Scene {
            db,
            way,
            between: Between::Nothing,
            _directory: None,
        });
    }
    for (way, between) in [
        (Way::Sync, Between::Nothing),
        (Way::Async, Between::Nothing),
        (Way::Sync, Between::Flush),
        (Way::Async, Between::FlushAndCompact),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let scene = Scene {
            db: way.open(persistent(&directory)).unwrap(),
            way,
            between,
            _directory: Some(directory),
        };
        story(&scene);
        way.close(&scene.db).unwrap();
    }
}

/// No background worker: what happens, the test does.
pub(crate) fn persistent(directory: &TempDir) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        durability: DurabilityMode::Buffered,
        ..DbOptions::new(directory.path().join("database"))
    }
}

pub(crate) fn text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap()
}

pub(crate) fn is_conflict<T>(result: &Result<T, Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Conflict { .. }) => true,
        Err(error) => panic!("expected a commit or a conflict, found {error:?}"),
    }
}

impl Scene {
    fn settle(&self) {
        if self.between == Between::Nothing {
            return;
        }
        call!(self.way, self.db, flush / flush_sync()).unwrap();
        if self.between == Between::FlushAndCompact {
            let all = KeyRange::all();
            call!(self.way, self.db, compact_range / compact_range_sync(all)).unwrap();
        }
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        call!(self.way, self.db, put / put_sync(key, value)).unwrap();
        self.settle();
    }

    pub(crate) fn delete(&self, key: &str) {
        call!(self.way, self.db, delete / delete_sync(key)).unwrap();
        self.settle();
    }

    pub(crate) fn delete_range(&self, start: &str, end: &str) {
        let range = KeyRange::half_open(start, end);
        call!(self.way, self.db, delete_range / delete_range_sync(range)).unwrap();
        self.settle();
    }

    pub(crate) fn put_all(&self, rows: &[(&str, &str)]) {
        let mut batch = WriteBatch::new();
        for (key, value) in rows {
            batch.put(*key, *value);
        }
        let options = WriteOptions::buffered();
        call!(self.way, self.db, write / write_sync(batch, options)).unwrap();
        self.settle();
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        call!(self.way, self.db, get / get_sync(key.as_bytes()))
            .unwrap()
            .map(text)
    }

    pub(crate) fn begin(&self) -> Story<'_> {
        Story {
            scene: self,
            transaction: self.db.transaction(TransactionOptions::default()),
        }
    }
}

/// One transaction.
pub(crate) struct Story<'scene> {
    scene: &'scene Scene,
    transaction: Transaction,
}

impl Story<'_> {
    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        let (way, key) = (self.scene.way, key.as_bytes());
        call!(way, self.transaction, get / get_sync(key))
            .unwrap()
            .map(text)
    }

    pub(crate) fn number(&mut self, key: &str) -> i64 {
        self.get(key).unwrap().parse().unwrap()
    }

    /// Records the read of a range, and gives its keys.
    pub(crate) fn keys(&mut self, start: &str, end: &str) -> Vec<String> {
        let range = KeyRange::half_open(start, end);
        let way = self.scene.way;
        call!(
            way,
            self.transaction,
            read_range / read_range_sync(range.clone())
        )
        .unwrap();
        // The transaction pins its sequence, so this reads what the transaction does.
        let at = Snapshot::new(self.transaction.read_sequence());
        let rows = call!(way, self.scene.db, range_at / range_at_sync(&at, &range)).unwrap();
        let rows = way.rows(rows).unwrap();
        rows.into_iter().map(|(key, _)| text(key)).collect()
    }

    pub(crate) fn put<T: ToString + ?Sized>(&mut self, key: &str, value: &T) {
        self.transaction.put(key, value.to_string());
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.transaction.delete(key);
    }

    pub(crate) fn twin(&self) -> Self {
        Self {
            scene: self.scene,
            transaction: self.transaction.clone(),
        }
    }

    #[track_caller]
    pub(crate) fn commits(self) {
        let result = call!(self.scene.way, self.transaction, commit / commit_sync());
        assert!(!is_conflict(&result), "{:?}", result.err());
        self.scene.settle();
    }

    #[track_caller]
    pub(crate) fn conflicts(self) {
        let before = self.scene.db.last_committed_sequence();
        let result = call!(self.scene.way, self.transaction, commit / commit_sync());
        assert!(is_conflict(&result), "committed: {result:?}");
        assert_eq!(before, self.scene.db.last_committed_sequence());
    }
}
