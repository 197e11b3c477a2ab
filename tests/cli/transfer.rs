//! Rows from and to files.

use std::fmt::Write;
use std::fs;

use crate::fixture::Home;

#[test]
fn every_form_leads_there_and_back() {
    let rows = "a\t1\nb\ttab \\t, quote \" and comma\nc\t\u{e9}\n";
    let home = Home::with_rows(rows);
    for name in ["rows.tsv", "rows.csv", "rows.jsonl", "rows.trows"] {
        home.trine(&format!("export db {name}")).succeeded();
        let copy = format!("copy-{name}");
        let report = home
            .trine(&format!("import {copy} {name} --create --json"))
            .json();
        assert_eq!(report["rows"], 3, "{name}");
        assert_eq!(
            home.trine(&format!("scan {copy}")).succeeded(),
            rows,
            "{name}"
        );
    }
}

#[test]
fn all_buckets_go_into_one_file() {
    let home = Home::with_rows("a\t1\n");
    home.trine("put db a 2 --bucket other --create").succeeded();
    for name in ["all.jsonl", "all.trows"] {
        home.trine(&format!("export db {name} --all")).succeeded();
        let copy = format!("copy-{name}");
        home.trine(&format!("import {copy} {name} --create"))
            .succeeded();
        assert_eq!(home.trine(&format!("scan {copy}")).succeeded(), "a\t1\n");
        assert_eq!(
            home.trine(&format!("scan {copy} -b other")).succeeded(),
            "a\t2\n"
        );
    }
    home.trine("export db all.csv --all").failed(2);
}

#[test]
fn columns_and_heads_of_other_peoples_files_are_found() {
    let home = Home::new();
    fs::write(
        home.file("people.csv"),
        "id,born,name\r\n7,1815,\"Ada, Countess\"\r\n",
    )
    .expect("written");
    home.trine("import db people.csv --create --header --key-column 3 --value-column 2")
        .succeeded();
    assert_eq!(home.trine("scan db").succeeded(), "Ada, Countess\t1815\n");
}

#[test]
fn a_bad_line_is_named_and_the_rows_before_it_are_kept() {
    let home = Home::new();
    fs::write(home.file("rows.tsv"), "a\t1\nno tab\nc\t3\n").expect("written");
    let why = home.trine("import db rows.tsv --create").failed(6);
    assert_eq!(
        why,
        "trine: rows.tsv: line 2: there is no column 2; the 1 rows before are in the database\n"
    );
    assert_eq!(home.trine("scan db").succeeded(), "a\t1\n");
}

#[test]
fn many_rows_of_one_bucket_are_one_commit_unless_batches_are_asked_for() {
    let home = Home::new();
    let mut rows = String::new();
    for number in 0..2500 {
        writeln!(rows, "{}\t{number}", number * 7919 % 2503).expect("text");
    }
    fs::write(home.file("rows.tsv"), &rows).expect("written");
    for (asked, commits) in [("", 1), (" --in-batches", 3)] {
        let name = format!("db{commits}");
        let report = home
            .trine(&format!("import {name} rows.tsv --json --create{asked}"))
            .json();
        assert_eq!(
            (&report["rows"], &report["sequence"]),
            (&2500.into(), &commits.into())
        );
        assert_eq!(home.trine(&format!("count {name}")).succeeded(), "2500\n");
    }
    fs::write(home.file("rows.tsv"), rows + "no tab\n").expect("written");
    let why = home.trine("import bad rows.tsv --create").failed(6);
    assert!(
        why.ends_with("the 2,500 rows before are in the database\n"),
        "{why}"
    );
    assert_eq!(home.trine("count bad").succeeded(), "2500\n");
}

#[test]
fn a_load_ends_where_another_bucket_begins() {
    let home = Home::new();
    let mut rows = String::new();
    for number in 0..5000 {
        let bucket = if (1500..3000).contains(&number) {
            "two"
        } else {
            "one"
        };
        writeln!(
            rows,
            r#"{{"bucket":"{bucket}","key":"{number}","value":"v"}}"#
        )
        .expect("text");
    }
    fs::write(home.file("rows.jsonl"), rows).expect("written");
    home.trine("import db rows.jsonl --create").succeeded();
    assert_eq!(home.trine("count db -b one").succeeded(), "3500\n");
    assert_eq!(home.trine("count db -b two").succeeded(), "1500\n");
}

#[test]
fn a_file_under_its_name_is_whole() {
    let home = Home::with_rows("a\t\\xff\n");
    let why = home.trine("export db rows.csv").failed(3);
    assert!(why.contains("not UTF-8"), "{why}");
    assert!(!home.file("rows.csv").exists() && !home.file("rows.csv.unfinished").exists());
}
