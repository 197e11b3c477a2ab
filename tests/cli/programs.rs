//! Commands that are little programs: backups, the shell, workloads.

use std::fs;

use crate::fixture::Home;

#[test]
fn a_backup_is_made_listed_checked_restored_and_pruned() {
    let home = Home::with_rows("a\t1\n");
    let first = home.trine("backup create db vault --json").json();
    assert_eq!(first["id"], 1);
    home.trine("put db a 2").succeeded();
    home.trine("backup create db vault").succeeded();
    let list = home.trine("backup list vault --json").json();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert!(
        home.trine("backup verify vault")
            .succeeded()
            .starts_with("no damage: backup 2")
    );
    home.trine("restore vault old --id 1").succeeded();
    home.trine("backup restore vault new").succeeded();
    assert_eq!(home.trine("get old a").succeeded(), "1\n");
    assert_eq!(home.trine("get new a").succeeded(), "2\n");
    home.trine("restore vault new").failed(2);
    assert_eq!(
        home.trine("get new a").succeeded(),
        "2\n",
        "what is there stays"
    );
    let pruned = home.trine("backup prune vault --keep 1 --json").json();
    assert_eq!(pruned["backups"], 1);
    home.trine("backup verify vault --id 1").failed(2);
    home.trine("backup list nowhere").failed(2);
}

#[test]
fn backups_lie_in_stores_of_objects_where_the_program_knows_them() {
    let home = Home::with_rows("a\t1\n");
    let url = format!("file://{}/objects", home.path().display());
    let create = home.trine(&format!("backup create db {url}"));
    if cfg!(feature = "object-store") {
        create.succeeded();
        home.trine(&format!("backup verify {url}")).succeeded();
        let list = home.trine(&format!("backup list {url} --json")).json();
        assert_eq!(list.as_array().map(Vec::len), Some(1));
        home.trine(&format!("restore {url} restored")).succeeded();
        assert_eq!(home.trine("get restored a").succeeded(), "1\n");
        home.trine("backup list teleport://somewhere").failed(2);
    } else {
        let why = create.failed(2);
        assert!(why.contains("--features cli,object-store"), "{why}");
    }
}

#[test]
fn the_shell_takes_commands_without_the_directory() {
    let home = Home::with_rows("a\t1\n");
    let script = b"# a comment\nput 'b key' \"two words\"\nget 'b key'\n\nscan --reverse\nexplain get a\nexit\nget a\n";
    let run = home.run(&["shell", "db"], script);
    let text = run.succeeded();
    assert!(
        text.starts_with("two words\nb key\ttwo words\na\t1\nreads as of"),
        "{text}"
    );
    assert!(text.ends_with("lies beside its key\n"), "{text}");
    for wrong in [&b"get nothing\n"[..], b"fetch a\n", b"get 'a\n", b"shell\n"] {
        let run = home.run(&["shell", "db"], &[wrong, b"get a\n"].concat());
        assert_ne!(run.code, 0);
        assert_eq!(
            run.out,
            b"1\n",
            "{:?}: {}",
            String::from_utf8_lossy(wrong),
            run.err
        );
    }
}

#[test]
fn workloads_run_on_a_directory_that_is_gone_afterwards() {
    let home = Home::new();
    fs::create_dir(home.file("scratch")).expect("made");
    let report = home
        .trine("bench --rows 2000 --directory scratch --json")
        .json();
    let workloads = report.as_array().expect("a list");
    assert_eq!(workloads.len(), 11);
    for workload in workloads {
        let name = workload["workload"].as_str().expect("a name");
        let found = match name {
            "readrandom" | "seekrandom" => Some(2000),
            "readmissing" => Some(0),
            _ => None,
        };
        assert_eq!(workload["found"].as_u64(), found, "{name}");
    }
    let one = home
        .trine("bench readseq --rows 10 --directory scratch")
        .succeeded();
    assert!(one.starts_with("readseq"), "{one}");
    assert_eq!(
        fs::read_dir(home.file("scratch")).expect("listed").count(),
        0
    );
}
