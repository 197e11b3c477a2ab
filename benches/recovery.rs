//! Opening: after a clean close, and with a log to replay.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use criterion::{criterion_group, criterion_main};

both! {
    use std::path::Path;
    use std::time::Duration;

    both!(@loaded);

    /// Opens and reads one row.
    fn open(path: &Path) -> Duration {
        let mut opened = None;
        let took = timed(|| {
            let db = Db::open_sync(buffered(path)).expect("opened");
            db.get_sync(&key(1)).expect("read").expect("found");
            opened = Some(db);
        });
        if let Some(db) = opened {
            db.close_sync();
        }
        took
    }

    pub(crate) fn clean(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        loaded(buffered(home.path()), ROWS, VALUE_BYTES).close_sync();
        group(criterion, "recovery/open after a clean close").bench_function(NAME, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| open(home.path())).sum());
        });
    }

    /// Closing does not flush, so each opening replays the same log.
    pub(crate) fn replay(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        let db = Db::open_sync(buffered(home.path())).expect("opened");
        load(&db, ROWS, VALUE_BYTES);
        db.close_sync();
        drop(db);
        group(criterion, "recovery/replay 100,000 rows").bench_function(NAME, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| open(home.path())).sum());
        });
    }
}

criterion_group!(
    benches,
    this::clean,
    baseline::clean,
    this::replay,
    baseline::replay
);
criterion_main!(benches);
