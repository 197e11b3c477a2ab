//! What is told of a whole database, and upkeep.

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
