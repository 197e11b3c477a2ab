//! Durability modes are accepted everywhere natively; what each promises after a kill is in `kill.rs`.

use trine_kv::{Db, DbOptions, DurabilityMode, WriteBatch, WriteOptions};

use crate::common::way::call;
use crate::fixture::{BOTH_WAYS, Place, all_keys, names, sequence};

const MODES: [DurabilityMode; 4] = [
    DurabilityMode::Buffered,
    DurabilityMode::Flush,
    DurabilityMode::SyncData,
    DurabilityMode::SyncAll,
];

#[test]
fn every_mode_works_as_floor_as_request_and_for_persist() {
    for way in BOTH_WAYS {
        for floor in MODES {
            let place = Place::new();
            for options in [place.options(), DbOptions::memory()] {
                let db = way.open(options.with_durability(floor)).unwrap();
                for (index, mode) in (0_u8..).zip(MODES) {
                    let options = WriteOptions::new(mode);
                    call!(
                        way,
                        db,
                        put_with_options / put_with_options_sync([index], "v", options)
                    )
                    .unwrap();
                    call!(way, db, persist / persist_sync(mode)).unwrap();
                }
                call!(way, db, put / put_sync([9], "v")).unwrap();
                assert_eq!(sequence(&db), 5);
            }
            assert_eq!(all_keys(&place.open()).len(), 5);
        }
    }
}

/// Every commit is with the operating system when it returns, so a copy of the files holds it.
#[test]
fn a_returned_commit_of_any_mode_is_in_the_files() {
    for mode in MODES {
        let place = Place::new();
        let db = Db::open_sync(place.options().with_durability(mode)).unwrap();
        let copy = Place::new();
        for index in 0..5_u8 {
            let mut batch = WriteBatch::new();
            batch.put([index], [index]);
            db.write_sync(batch, WriteOptions::buffered()).unwrap();
            let _ = std::fs::remove_dir_all(copy.path());
            std::fs::create_dir_all(copy.path()).unwrap();
            for name in names(&place.path()).iter().filter(|name| *name != "LOCK") {
                std::fs::copy(place.path().join(name), copy.path().join(name)).unwrap();
            }
            let found = all_keys(&copy.open());
            assert_eq!(found.len(), usize::from(index) + 1, "{mode:?}");
        }
    }
}
