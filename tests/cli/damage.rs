//! A damaged byte: found, shown, and what is left saved.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::Home;

/// The files of the database whose names begin so.
fn files(home: &Home, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(home.file("db"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.starts_with(start)
        })
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// A table of ten thousand rows, and a row in the log only.
fn database() -> Home {
    let rows: Vec<_> = (0..10_000)
        .map(|row| format!("{row:05}\tvalue {row}\n"))
        .collect();
    let rows = rows.concat();
    let home = Home::with_rows(&rows);
    home.trine("flush db").succeeded();
    home.trine("put db last row").succeeded();
    home
}

#[test]
fn damage_is_found_shown_and_left_behind() {
    let home = database();
    let table = files(&home, "table-").remove(0);
    let name = table
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    flip(&table, 20_000);
    assert!(home.trine("verify db").failed(4).contains(&name));
    let dump = home.run(&["dump", table.to_str().expect("text"), "--json"], b"");
    let pieces = String::from_utf8(dump.out.clone()).expect("text");
    dump.failed(4);
    let damaged: Vec<serde_json::Value> = pieces
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|piece: &serde_json::Value| !piece["fault"].is_null())
        .collect();
    assert_eq!(damaged.len(), 1, "{damaged:?}");

    let report = home.trine("salvage db saved --json").json();
    assert_eq!(report["losses"].as_array().map(Vec::len), Some(1));
    let loss = &report["losses"][0];
    assert_eq!(
        (&loss["file"], &loss["offset"]),
        (&name.into(), &damaged[0]["offset"])
    );
    let (after, through) = (loss["keys_after"].clone(), loss["keys_through"].clone());
    let saved = home.trine("scan saved --only-keys").succeeded();
    let saved: Vec<_> = saved.lines().collect();
    for row in 0..10_000 {
        let key = format!("{row:05}");
        let is_lost = after.as_str() < Some(key.as_str()) && Some(key.as_str()) <= through.as_str();
        assert_eq!(saved.contains(&key.as_str()), !is_lost, "{key}, {loss}");
    }
    assert_eq!(home.trine("get saved last").succeeded(), "row\n");
    assert!(
        home.trine("verify saved")
            .succeeded()
            .starts_with("no damage")
    );
}

#[test]
fn a_database_without_its_manifest_is_saved_table_by_table() {
    let home = database();
    for path in files(&home, "MANIFEST")
        .into_iter()
        .chain(files(&home, "CURRENT"))
    {
        fs::remove_file(path).expect("removed");
    }
    home.trine("get db last").failed(4);
    home.trine("salvage db apart").succeeded();
    let buckets = home.trine("buckets apart --json").json();
    let name = buckets[1]["name"].as_str().unwrap_or_default();
    assert!(name.starts_with("salvaged-table-"), "{buckets}");
    let report = home
        .trine("salvage db together --unknown-into default --json")
        .json();
    assert_eq!(
        (&report["rows"], &report["manifest_complete"]),
        (&10_001.into(), &false.into())
    );
    assert_eq!(home.trine("count together").succeeded(), "10001\n");
}

#[test]
fn every_kind_of_file_can_be_taken_apart() {
    let home = database();
    for (start, what) in [
        ("table-", "data block"),
        ("wal-", "commit"),
        ("MANIFEST-", "edit"),
    ] {
        for path in files(&home, start) {
            let dump = home.run(&["dump", "--entries", path.to_str().expect("text")], b"");
            let text = dump.succeeded();
            assert!(!text.contains("DAMAGED"), "{text}");
            let is_empty_log = start == "wal-" && !text.contains("key: last");
            assert!(text.contains(what) || is_empty_log, "{start}: {text}");
        }
    }
    let wal = files(&home, "wal-").iter().any(|path| {
        let dump = home.run(&["dump", "-e", path.to_str().expect("text")], b"");
        dump.succeeded()
            .contains("put  bucket: 0  key: last  value: row")
    });
    assert!(wal, "the last row lies in the log");
    home.trine("dump db/CURRENT").failed(2);
    home.trine("dump db/none").failed(2);
}

#[test]
fn nothing_is_saved_over_something_or_from_a_database_in_use() {
    let home = database();
    home.trine("salvage db db").failed(2);
    home.trine("salvage nothing saved").failed(2);
    let writer = trine_kv::Db::open_sync(home.file("db")).expect("opened");
    home.trine("salvage db saved").failed(5);
    drop(writer);
    assert!(!home.file("saved").exists());
}
