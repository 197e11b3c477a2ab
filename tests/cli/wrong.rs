//! What is asked for and cannot be: said in one line, with an exit code of its own, and nothing is made or changed.

use std::fs;

use trine_kv::Db;

use crate::fixture::Home;

#[test]
fn bad_arguments_are_explained() {
    let home = Home::with_rows("a\t1\n");
    for wrong in [
        "",
        "fetch db a",
        "get db",
        "scan db --limit many",
        "scan db --prefix a --from b",
        "get db a --keys octal",
        "get db xyz --keys hex",
        "get db \\q",
        "delete db",
        "delete db a --from b",
        "export db rows",
    ] {
        let arguments: Vec<_> = wrong.split(' ').filter(|word| !word.is_empty()).collect();
        let run = home.run(&arguments, b"");
        assert_eq!(run.code, 2, "{wrong}: {}", run.err);
        assert!(!run.err.is_empty() && run.out.is_empty(), "{wrong}");
    }
    assert_eq!(home.trine("scan db").succeeded(), "a\t1\n");
}

#[test]
fn what_is_no_database_is_left_alone() {
    let home = Home::new();
    fs::create_dir(home.file("empty")).expect("made");
    fs::create_dir(home.file("other")).expect("made");
    fs::write(home.file("other/letter"), "text").expect("written");
    for place in ["missing", "empty", "other", "other/letter"] {
        for command in [
            "get PLACE a",
            "put PLACE a b",
            "scan PLACE",
            "verify PLACE",
            "compact PLACE",
        ] {
            home.trine(&command.replace("PLACE", place)).failed(2);
        }
    }
    home.trine("put other a b --create").failed(2);
    assert!(!home.file("missing").exists());
    assert_eq!(fs::read_dir(home.file("empty")).expect("listed").count(), 0);
    assert_eq!(fs::read_dir(home.file("other")).expect("listed").count(), 1);
}

#[test]
fn while_somebody_writes_readers_say_so_and_writers_are_refused() {
    let home = Home::with_rows("a\t1\n");
    let writer = Db::open_sync(home.file("db")).expect("opened");
    let read = home.trine("get db a");
    let process = format!("process {}", std::process::id());
    assert!(read.err.contains(&process), "{}", read.err);
    assert_eq!(read.succeeded(), "1\n");
    assert!(home.trine("get db a --quiet").err.is_empty());
    assert!(home.trine("put db a 2").failed(5).contains(&process));
    drop(writer);
    assert!(home.trine("get db a").err.is_empty());
    home.trine("put db a 2").succeeded();
}

#[test]
fn damage_has_a_code_of_its_own() {
    let home = Home::with_rows("a\t1\n");
    fs::write(home.file("db/CURRENT"), "nonsense").expect("written");
    assert!(home.trine("get db a").failed(4).contains("CURRENT"));
    fs::remove_file(home.file("db/CURRENT")).expect("removed");
    assert!(home.trine("get db a").failed(4).contains("CURRENT"));
}
