//! Rules of the public contract as scripts: commands and what they must answer.
//!
//! Each file of `rules/` is one rule, named after it, and runs through the synchronous and the asynchronous
//! interface on every place that it names with `on`: `memory`; `files`, where nothing moves by itself;
//! `flushed` and `compacted`, where a flush (and a compaction of everything) follows each commit; `reopened`,
//! where the database is closed and opened after each. Without `on` it runs on the first four.
//!
//! ```text
//! options write_buffer_bytes=40       of the database; of a bucket after its name
//! users = bucket users                names what later lines call; also `snapshot`, `transaction`, scans
//! users: put k v            -> ok @1  a commit and its sequence
//! write put a 1, delete users/k       a batch; `users/` names a bucket there and in transactions
//! range a..c                -> a=1    rows; also `a..=c`, `(a..c`, `..`; any of the eight scans
//! t: commit                 -> refused: <text of the error>
//! ```
//! A line without `->` must succeed. `''` is the empty string, `\x00` a byte.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}

mod scene;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::way::Way;
use scene::{Scene, Stage};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn scripts() -> Vec<PathBuf> {
    let mut scripts: Vec<_> = std::fs::read_dir(root().join("tests/scripts/rules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    scripts
}

fn run(script: &str, way: Way, stage: Stage) -> Result<(), String> {
    let lines = script.lines().enumerate().filter_map(|(number, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        (!line.is_empty() && !line.starts_with("on ")).then_some((number + 1, line))
    });
    let mut scene = Scene::new(way, stage);
    for (number, line) in lines {
        let (command, expected) = match line.split_once("->") {
            Some((command, expected)) => (command.trim(), Some(expected.trim())),
            None => (line, None),
        };
        let found = scene.run(command).trim_end().to_owned();
        let holds = match expected {
            Some(expected) => found == expected,
            None => !found.starts_with("refused"),
        };
        if !holds {
            let expected = expected.unwrap_or("success");
            return Err(format!(
                "line {number}: {command}\n  expected {expected}\n  found    {found}"
            ));
        }
    }
    Ok(())
}

fn stages(script: &str) -> Vec<Stage> {
    let named = script.lines().find_map(|line| line.strip_prefix("on "));
    named
        .unwrap_or("memory, files, flushed, compacted")
        .split(", ")
        .map(Stage::parse)
        .collect()
}

/// What of a script does not hold, for each way and place.
fn failures(path: &Path) -> Vec<String> {
    let script = std::fs::read_to_string(path).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy();
    let mut failures = Vec::new();
    for stage in stages(&script) {
        for way in [Way::Sync, Way::Async] {
            if let Err(failure) = run(&script, way, stage) {
                failures.push(format!("{name} ({way:?}, {stage:?}), {failure}"));
            }
        }
    }
    failures
}

#[test]
fn every_rule_holds_in_both_ways_wherever_rows_lie() {
    // They wait for the disk most of the time, so many at once.
    let failures: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = scripts()
            .into_iter()
            .map(|path| scope.spawn(move || failures(&path)))
            .collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn a_script_that_expects_something_else_fails() {
    let fails = |script| run(script, Way::Sync, Stage::Memory).is_err();
    assert!(fails("put a 1 -> ok @2"));
    assert!(fails("get a -> 1"));
    assert!(fails("bucket ''"));
    assert!(!fails("put a 1 -> ok @1\nget a -> 1"));
}

/// The text of all tests and of everything that holds tests.
fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_rule_of_the_contract_names_a_script_or_a_test_that_exists() {
    let mut tests = String::new();
    sources(&root().join("tests"), &mut tests);
    sources(&root().join("src"), &mut tests);
    let scripts: BTreeSet<_> = scripts()
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let contract = std::fs::read_to_string(root().join("docs/contract.md")).unwrap();
    let mut named = BTreeSet::new();
    for rule in contract.split("\n- ").skip(1) {
        let rule = rule.split("\n\n").next().unwrap_or_default();
        let shown = rule
            .rsplit_once('[')
            .unwrap_or_else(|| panic!("no test is named by: {rule}"))
            .1;
        for name in shown.trim_end_matches([']', '\n']).split([',', '\n', ' ']) {
            if name.is_empty() {
                continue;
            }
            assert!(
                scripts.contains(name) || tests.contains(&format!("fn {name}(")),
                "{name} is neither a script nor a test"
            );
            named.insert(name.to_owned());
        }
    }
    let unnamed: Vec<_> = scripts.difference(&named).collect();
    assert!(unnamed.is_empty(), "no rule names {unnamed:?}");
}
