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

#[test]
fn operands_are_merged_as_the_operator_says_that_is_named() {
    let home = Home::new();
    home.trine("merge db visits 40 --bucket counts --create --operator count=add")
        .succeeded();
    home.trine("merge db visits 2 --bucket counts").succeeded();
    let get = "get db visits --bucket counts";
    let why = home.trine(get).failed(2);
    assert!(why.contains("--operator count=KIND"), "{why}");
    let named = format!("{get} --operator count=add");
    assert_eq!(home.trine(&named).succeeded(), "42\n");
    let buckets = home.trine("buckets db --json").json();
    assert_eq!(buckets[1]["options"]["merge_operator"], "count");
    home.trine("merge db visits many --bucket counts")
        .succeeded();
    let why = home.trine(&named).failed(3);
    assert!(why.contains("merge operator count failed"), "{why}");
    home.trine("put db visits 1 --bucket counts").succeeded();
    home.trine("compact db --operator count=add").succeeded();
    assert_eq!(
        home.trine(get).succeeded(),
        "1\n",
        "nothing is left to merge"
    );

    home.trine("put db a 1 --bucket plain --create").succeeded();
    let why = home.trine("merge db a 1 --bucket plain").failed(2);
    assert!(why.contains("has no merge operator"), "{why}");
    home.trine("merge db a 1 --create").failed(2);
    home.trine("get db a --operator count=sum").failed(2);
    let script = b"merge a 1 -b counts\nmerge a 2 -b counts\nget a -b counts\n";
    let run = home.run(&["shell", "db", "--operator", "count=append"], script);
    assert_eq!(run.succeeded(), "12\n");
}

#[test]
fn rows_that_expire_say_when_and_go_with_it_to_other_databases() {
    let home = Home::with_rows("a\t1\n");
    home.trine("put db b 2 --ttl 1h").succeeded();
    home.trine("put db c 3 --ttl 1ms").succeeded();
    home.trine("put db d 4 --ttl never").failed(2);
    let get = home.trine("get db b");
    assert!(get.err.starts_with("trine: expires at 2"), "{}", get.err);
    assert_eq!(get.succeeded(), "2\n");
    let expires = |place: &str| {
        let row = home.trine(&format!("get {place} b --json")).json();
        row["expires_millis"].as_u64().expect("a time")
    };
    let at = expires("db");
    // When the third is gone is for the clock to say, but it is.
    while home.trine("get db c").code == 0 {}
    assert_eq!(
        home.trine("scan db --json").succeeded(),
        format!(
            "{{\"key\":\"a\",\"value\":\"1\"}}\n{{\"key\":\"b\",\"value\":\"2\",\"expires_millis\":{at}}}\n"
        )
    );
    for (name, keeps) in [
        ("rows.jsonl", true),
        ("rows.trows", true),
        ("rows.tsv", false),
    ] {
        let export = home.trine(&format!("export db {name}"));
        assert_eq!(export.err.contains("1 rows expire"), !keeps, "{name}");
        home.trine(&format!("import copy-{name} {name} --create"))
            .succeeded();
        if keeps {
            assert_eq!(expires(&format!("copy-{name}")), at, "{name}");
        }
    }
    let wrong = r#"{"key":"a","value":"b","expires_millis":"soon"}"#;
    let run = home.run(
        &["import", "db", "-", "--format", "jsonl"],
        wrong.as_bytes(),
    );
    run.failed(6);
}
