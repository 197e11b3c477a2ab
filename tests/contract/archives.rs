//! Databases as streams of bytes.

use tempfile::tempdir;
use trine_kv::{Db, DbOptions, Error, Result};

use crate::common::executor::block_on;

#[test]
fn an_archive_is_a_database_elsewhere() {
    let home = tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let db = Db::open_sync(path("from")).unwrap();
    db.put_sync("key", vec![b'v'; 3_000_000]).unwrap();

    let portions: Vec<_> = db.export_sync().unwrap().collect::<Result<_>>().unwrap();
    assert!(
        portions
            .iter()
            .all(|portion| portion.len() < (1 << 20) + 64)
    );
    let mut import = Db::import_sync(DbOptions::new(path("blocking"))).unwrap();
    for portion in &portions {
        import.write_sync(portion).unwrap();
    }
    let blocking = import.finish_sync().unwrap();

    let asynchronous = block_on(async {
        let mut export = db.export().await.unwrap();
        assert_eq!(export.sequence(), db.last_committed_sequence());
        let mut import = Db::import(DbOptions::new(path("asynchronous")))
            .await
            .unwrap();
        while let Some(portion) = export.next().await.unwrap() {
            import.write(&portion).await.unwrap();
        }
        assert!(export.next().await.unwrap().is_none());
        import.finish().await.unwrap()
    });
    for copy in [blocking, asynchronous] {
        assert_eq!(copy.get_sync(b"key").unwrap().unwrap().len(), 3_000_000);
        assert_eq!(copy.last_committed_sequence(), db.last_committed_sequence());
        copy.verify_sync(|_| ()).unwrap();
    }
}

#[test]
fn an_archive_goes_where_no_database_is_and_comes_from_one_on_disk() {
    let home = tempdir().unwrap();
    let there = || DbOptions::new(home.path());
    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    assert!(matches!(
        memory.export_sync(),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        Db::import_sync(DbOptions::memory()),
        Err(Error::Unsupported { .. })
    ));
    let db = Db::open_sync(there()).unwrap();
    let mut export = db.export_sync().unwrap();
    export.next_sync().unwrap().unwrap();
    db.close_sync();
    assert!(matches!(export.next_sync(), Some(Err(Error::Closed))));
    assert!(matches!(
        Db::import_sync(there()),
        Err(Error::InvalidOptions { .. })
    ));
    assert!(matches!(
        Db::import_sync(there().read_only()),
        Err(Error::ReadOnly)
    ));
    let reader = Db::open_sync(there().read_only()).unwrap();
    assert!(matches!(reader.export_sync(), Err(Error::ReadOnly)));
}
