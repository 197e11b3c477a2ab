//! Single rows and ranges.

use crate::fixture::Home;

#[test]
fn what_was_put_can_be_got_until_it_is_deleted() {
    let home = Home::new();
    home.trine("put db key value --create").succeeded();
    assert_eq!(home.trine("get db key").succeeded(), "value\n");
    home.trine("delete db key").succeeded();
    let missing = home.trine("get db key");
    assert!(missing.out.is_empty());
    assert_eq!(missing.failed(1), "trine: not found: key\n");
}

#[test]
fn bytes_go_through_every_encoding() {
    let home = Home::new();
    home.run(
        &["put", "db", "00ff", "--create", "--keys", "hex"],
        b"\x01\n\xfe",
    )
    .succeeded();
    let value = |form: &str| home.run(&["get", "db", r"\x00\xff", "--values", form], b"");
    assert_eq!(value("utf8").succeeded(), "\\x01\\n\\xfe\n");
    assert_eq!(value("hex").succeeded(), "010afe\n");
    assert_eq!(value("base64").succeeded(), "AQr+\n");
    assert_eq!(value("raw").out, b"\x01\n\xfe");
    let row = home.trine("get db 00ff --keys hex --json").json();
    assert_eq!(row["key_hex"], "00ff");
    assert_eq!(row["value_base64"], "AQr+");
}

#[test]
fn scans_know_their_ends_direction_and_limit() {
    let home = Home::with_rows("a\t1\nb\t2\nb/x\t3\nc\t4\n");
    let scan = |rest: &str| home.trine(format!("scan db {rest}").trim_end());
    assert_eq!(scan("").succeeded(), "a\t1\nb\t2\nb/x\t3\nc\t4\n");
    assert_eq!(scan("--from b --to c").succeeded(), "b\t2\nb/x\t3\n");
    assert_eq!(scan("--reverse --limit 2").succeeded(), "c\t4\nb/x\t3\n");
    assert_eq!(scan("--only-keys --prefix b/").succeeded(), "b/x\n");
    assert_eq!(scan("--format csv --limit 1").succeeded(), "a,1\n");
    assert_eq!(
        scan("--json --limit 1").succeeded(),
        "{\"key\":\"a\",\"value\":\"1\"}\n"
    );
    assert_eq!(home.trine("prefix db b").succeeded(), "b\t2\nb/x\t3\n");
    assert_eq!(home.trine("count db").succeeded(), "4\n");
    assert_eq!(home.trine("count db --prefix b --json").json()["rows"], 2);
}

#[test]
fn a_range_is_deleted_as_a_whole() {
    let home = Home::with_rows("a\t1\nb\t2\nb/x\t3\nc\t4\n");
    home.trine("delete db --prefix b").succeeded();
    assert_eq!(home.trine("scan db").succeeded(), "a\t1\nc\t4\n");
    home.trine("delete db --from b").succeeded();
    assert_eq!(home.trine("scan db").succeeded(), "a\t1\n");
}

#[test]
fn buckets_are_apart() {
    let home = Home::with_rows("a\t1\n");
    home.trine("put db a 2 --bucket other --create").succeeded();
    assert_eq!(home.trine("get db a").succeeded(), "1\n");
    assert_eq!(home.trine("get db a -b other").succeeded(), "2\n");
    let buckets = home.trine("buckets db --json").json();
    let names: Vec<_> = buckets
        .as_array()
        .expect("a list")
        .iter()
        .map(|bucket| bucket["name"].clone())
        .collect();
    assert_eq!(names, ["default", "other"]);
    let missing = home.trine("get db a -b third").failed(1);
    assert!(missing.contains("there are: default other"), "{missing}");
}
