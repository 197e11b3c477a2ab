//! What is told of a whole database, and upkeep.

use std::io::{BufRead, BufReader};

use trine_kv::Db;

use crate::fixture::Home;

#[test]
fn upkeep_leaves_the_rows_as_they_are() {
    let home = Home::with_rows("a\t1\nb\t2\n");
    home.trine("flush db").succeeded();
    let stat = home.trine("stat db --json").json();
    assert_eq!(stat["tables"], 1);
    assert_eq!(stat["log_only_bytes"], 0);
    home.trine("delete db a").succeeded();
    let merged = home.trine("compact db --json").json();
    assert!(merged["bytes_after"].as_u64() <= merged["bytes_before"].as_u64());
    assert_eq!(
        home.trine("buckets db --json").json()[0]["table_entries"],
        1
    );
    assert_eq!(
        home.trine("compact db --json").json()["merges"].as_u64(),
        Some(0)
    );
    assert_eq!(home.trine("scan db").succeeded(), "b\t2\n");
    assert_eq!(home.trine("verify db --json").json()["entries"], 1);
}

#[test]
fn a_read_is_explained_down_to_the_block() {
    let home = Home::with_rows("a\t1\nb\t2\n");
    home.trine("flush db").succeeded();
    let explained = home.trine("explain get db a --json").json();
    assert_eq!(explained["steps"][0]["answer"], "nothing");
    assert_eq!(explained["steps"][1]["table"]["filter"], true);
    assert_eq!(explained["steps"][1]["table"]["blocks"][0]["offset"], 24);
    assert_eq!(explained["value"]["bytes"], 1);
    let text = home.trine("explain get db a").succeeded();
    assert!(
        text.contains("block 0 at 24") && text.contains("lies beside its key"),
        "{text}"
    );
    assert!(
        home.trine("explain get db c")
            .succeeded()
            .contains("there is no value")
    );
}

#[test]
fn a_checkpoint_is_a_database_of_its_own() {
    let home = Home::with_rows("a\t1\n");
    home.trine("checkpoint db copy").succeeded();
    home.trine("put db a 2").succeeded();
    assert_eq!(home.trine("scan copy").succeeded(), "a\t1\n");
    let why = home.trine("checkpoint db copy").failed(2);
    assert!(why.contains("not empty"), "{why}");
}

#[test]
fn completions_and_the_manual_are_made_of_the_arguments() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.trine(&format!("completions {shell}")).succeeded();
        assert!(script.contains("checkpoint"), "{shell}");
    }
    let page = home.trine("man").succeeded();
    assert!(
        page.starts_with(".ie") && page.contains("trine\\-checkpoint")
            || page.contains("trine checkpoint")
    );
    for line in home.trine("help").succeeded().lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}

#[test]
fn top_looks_again_and_again_beside_a_writer() {
    let home = Home::with_rows("a\t1\n");
    let once = home.trine("top db --once --json").json();
    assert!(once["commits_per_second"].is_null() && once["writer"].is_null());
    assert_eq!(once["last_sequence"], 1);
    let text = home.trine("top db --once").succeeded();
    assert!(text.starts_with("db: nobody writes\n"), "{text}");
    assert!(text.contains("level") && text.contains("default"), "{text}");

    let writer = Db::open_sync(home.file("db")).expect("opened");
    let mut top = home.spawn(&["top", "db", "--json", "--interval", "0.1"]);
    let mut looks = BufReader::new(top.stdout.take().expect("a pipe"));
    let mut last = 0;
    for sequence in 2..=3 {
        writer.put_sync("b", "2").expect("put");
        while last < sequence {
            let mut line = String::new();
            looks.read_line(&mut line).expect("a line");
            let look: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            last = look["last_sequence"].as_u64().expect("a number");
            let process = format!("process {}", std::process::id());
            assert_eq!(look["writer"], process.as_str());
        }
    }
    // Whoever reads has seen enough.
    drop(looks);
    assert!(top.wait().expect("it ends").success());
    home.trine("top nowhere").failed(2);
    home.trine("top db --interval 0").failed(2);
}
