//! Rules of the source tree that no compiler checks: which module may know which, headers, sizes,
//! where the host is touched, and that documents agree with the code.
//!
//! Every rule lists all its violations at once.
#![cfg(not(target_family = "wasm"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of `src/`, bottom first. A module may use modules of its own layer and of those before
/// it, as long as no circle arises. A new module gets its place here.
const LAYERS: [&[&str]; 10] = [
    &[
        "error",
        "event",
        "sequence",
        "key",
        "internal_key",
        "cursor",
        "clock",
        "coding",
        "composite",
        "checksum",
        "compression",
        "hash",
        "hash_map",
        "operator",
        "options",
        "prefetch",
        "prefix",
        "search",
        "runtime",
        "stats",
        "file_kind",
        "file_name",
        "range_tombstone",
        "types",
        "value",
        "sync",
        "counter",
        "read_counters",
        "direction",
        "durability",
        "epoch",
        "testing",
    ],
    &["block", "filter", "record"],
    &["slab", "residency", "cache", "open_files", "frame_search"],
    &["table", "wal", "manifest", "blob"],
    &["tree"],
    &["commit"],
    &["db"],
    // For tools: files as they are, behind the engine's back.
    &["inspect", "salvage"],
    // The public names that are modules of their own; `lib.rs` is above everything.
    &[
        "archive",
        "bucket",
        "explain",
        "iterator",
        "recovery",
        "snapshot",
        "transaction",
        "write_batch",
    ],
    // The whole engine under test.
    &["simulation", "fuzzing"],
];

/// Only these may touch files, threads and clocks of the host by themselves.
const HOST_NAMES: [&str; 4] = [
    "std::fs",
    "std::thread::spawn",
    "Instant::now",
    "SystemTime::now",
];
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
const LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `directory`, by its path from the root, with its text.
fn sources(directory: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // `CACHEDIR.TAG` marks what a build left.
                if !path.join("CACHEDIR.TAG").exists() {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let name = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .to_path_buf();
                found.insert(name, text);
            }
        }
    }
    found
}

/// The library's own files: programs beside it are its users.
fn library() -> BTreeMap<PathBuf, String> {
    let mut files = sources("src");
    files.retain(|path, _| !path.starts_with("src/bin"));
    files
}

fn all_sources() -> BTreeMap<PathBuf, String> {
    [
        "src",
        "io/src",
        "platform/src",
        "tests",
        "examples",
        "benches",
    ]
    .into_iter()
    .flat_map(sources)
    .collect()
}

/// The code without comments and without what is inside string and character literals.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| bytes[at..].starts_with(what.as_bytes());
    while at < bytes.len() {
        if starts(at, "//") {
            while at < bytes.len() && bytes[at] != b'\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            at = text[at..]
                .find("*/")
                .map_or(bytes.len(), |end| at + end + 2);
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
            code.push_str("\"\"");
        } else if starts(at, "'\"'") || starts(at, "b'\"'") {
            at += if bytes[at] == b'b' { 4 } else { 3 };
        } else {
            code.push(char::from(bytes[at]));
            at += 1;
        }
    }
    code
}

/// The identifiers that follow `prefix::` in `code`; of `prefix::{a::b, c}` they are `a` and `c`.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':') {
            continue;
        }
        let rest = code[at + prefix.len()..].trim_start();
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.extend(first_name(&std::mem::take(&mut item))),
                    _ => {}
                }
                item.push(character);
            }
            names.extend(first_name(item.trim_start_matches(',')));
        } else {
            names.extend(first_name(rest));
        }
    }
    names
}

fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start_matches([',', ' ', '\n']);
    let name: String = path
        .chars()
        .take_while(|&c| c.is_alphanumeric() || c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The module of `src/` that a file belongs to; none for `lib.rs`.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").expect("a file of src");
    let first = inside.iter().next().expect("a name").to_string_lossy();
    let name = first.trim_end_matches(".rs");
    (name != "lib").then(|| name.to_owned())
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Public names of `lib.rs` and the modules they come from: `crate::Error` is `error`.
fn root_names(library: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let code = code_only(library);
    for (at, _) in code.match_indices("pub use ") {
        let statement = code[at + "pub use ".len()..]
            .split(';')
            .next()
            .unwrap_or_default();
        let path = statement.trim().trim_start_matches("crate::");
        let module = first_name(path).expect("a module");
        let last = path.rsplit_once("::").map_or(path, |(_, last)| last);
        for name in last.trim_matches(['{', '}', ' ', '\n']).split(',') {
            names.extend(first_name(name).map(|name| (name, module.clone())));
        }
    }
    names
}

fn report(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{rule}:\n  {}",
        violations.join("\n  ")
    );
}

/// Which module uses which, each with one file that does. Unknown names are violations.
fn arrows(violations: &mut Vec<String>) -> BTreeMap<(String, String), PathBuf> {
    let files = library();
    let exported = root_names(&files[Path::new("src/lib.rs")]);
    let mut arrows = BTreeMap::new();
    for (path, text) in &files {
        let Some(from) = module_of(path) else {
            continue;
        };
        if layer_of(&from).is_none() {
            violations.push(format!("{}: module {from} has no layer", path.display()));
        }
        let code = code_only(text);
        let mut names = names_after(&code, "crate::");
        // In a module's top file, `super` is the crate.
        let depth = path.iter().count();
        if depth == 2 || (depth == 3 && path.ends_with("mod.rs")) {
            let after_super = names_after(&code, "super::");
            names.extend(
                after_super
                    .into_iter()
                    .filter(|name| layer_of(name).is_some()),
            );
        }
        for name in names {
            let target = if layer_of(&name).is_some() {
                Some(&name)
            } else {
                exported.get(&name)
            };
            match target {
                Some(to) if *to == from => {}
                Some(to) => {
                    arrows
                        .entry((from.clone(), to.clone()))
                        .or_insert_with(|| path.clone());
                }
                // Macros of the crate, and generated names, are lower case too: all must be known.
                None => violations.push(format!("{}: crate::{name} has no layer", path.display())),
            }
        }
    }
    arrows
}

#[test]
fn modules_know_only_their_own_layer_and_those_below() {
    let mut violations = Vec::new();
    for ((from, to), path) in arrows(&mut violations) {
        if layer_of(&from) < layer_of(&to) {
            violations.push(format!(
                "{}: {from} uses {to}, which is above it",
                path.display()
            ));
        }
    }
    report("layers point down only (see LAYERS)", &violations);
}

#[test]
fn modules_form_no_circle() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in arrows(&mut Vec::new()).into_keys() {
        uses.entry(to.clone()).or_default();
        uses.entry(from).or_default().insert(to);
    }
    // Take away modules that use nothing that is left, or that nothing left uses: a circle stays.
    loop {
        let free = uses.iter().find(|(name, used)| {
            used.is_empty() || !uses.values().any(|used| used.contains(*name))
        });
        let Some(free) = free.map(|(name, _)| name.clone()) else {
            break;
        };
        uses.remove(&free);
        for used in uses.values_mut() {
            used.remove(&free);
        }
    }
    let left: Vec<_> = uses
        .iter()
        .map(|(from, to)| format!("{from} -> {to:?}"))
        .collect();
    report("modules use each other in a circle", &left);
}

#[test]
fn every_file_starts_with_what_it_is_for() {
    let violations: Vec<_> = all_sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    report("files without a `//!` header", &violations);
}

#[test]
fn no_file_is_too_long() {
    let violations: Vec<_> = all_sources()
        .iter()
        .filter(|(path, _)| !path.starts_with("tests"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    report(
        "files of more than 700 lines: which second idea moved in?",
        &violations,
    );
}

/// The documentation and the signature of every public function of the file that can fail.
fn fallible_calls(text: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = text.lines().collect();
    let mut calls = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((_, name)) = line.split_once(" fn ") else {
            continue;
        };
        if !line.trim_start().starts_with("pub ") {
            continue;
        }
        let name = name.split(['(', '<']).next().unwrap_or_default();
        let signature = lines[number..]
            .iter()
            .scan(false, |over, line| {
                let goes_on = !*over;
                *over = line.trim_end().ends_with('{');
                goes_on.then_some(*line)
            })
            .collect::<String>();
        let documentation: Vec<_> = lines[..number]
            .iter()
            .rev()
            .take_while(|line| {
                let is_documentation = line.trim_start().starts_with("///");
                is_documentation
                    || !(line.is_empty() || line.ends_with('{') || line.ends_with("$("))
            })
            .copied()
            .collect();
        if signature.contains("Result<") {
            calls.push((name.to_owned(), documentation.join("\n")));
        }
    }
    calls
}

/// What it costs, and for what changes the database how long that lasts. `*_sync` refers to its twin.
#[test]
fn every_call_states_its_cost_and_its_durability() {
    const CHANGES: [&str; 14] = [
        "put",
        "delete",
        "write",
        "commit",
        "persist",
        "flush",
        "transact",
        "drop_bucket",
        "checkpoint",
        "backup",
        "restore",
        "prune",
        "remove",
        "close",
    ];
    let mut violations = Vec::new();
    let mut seen = 0;
    for (path, text) in sources("src/db") {
        for (name, documentation) in fallible_calls(&text) {
            seen += 1;
            if documentation.contains("on this thread") {
                continue;
            }
            // What a transaction stages changes nothing before its commit.
            let stages = path.ends_with("transaction.rs") && name != "commit";
            let changes = CHANGES.iter().any(|verb| name.starts_with(verb)) && !stages;
            for (section, wanted) in [("# Cost", true), ("# Durability", changes)] {
                if wanted && !documentation.contains(section) {
                    violations.push(format!("{}: {name} has no {section}", path.display()));
                }
            }
        }
    }
    assert!(seen > 100, "{seen} calls were found");
    report(
        "calls that do not say what they cost or make durable",
        &violations,
    );
}

#[test]
fn the_usage_guide_names_every_public_function() {
    let guide = fs::read_to_string(root().join("docs/usage.md")).expect("the guide");
    let words: BTreeSet<_> = guide
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .collect();
    let mut violations = Vec::new();
    // What is compiled for fuzzers is no part of the interface.
    let sources = library().into_iter();
    for (path, text) in sources.filter(|(path, _)| !path.ends_with("fuzzing.rs")) {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in text.lines().map(str::trim_start) {
            let Some(rest) = line.strip_prefix("pub ") else {
                continue;
            };
            let Some((before, after)) = rest.split_once("fn ") else {
                continue;
            };
            let name = after.split(['(', '<']).next().unwrap_or_default();
            let named = |name: &str| words.contains(name);
            let twin = name.strip_suffix("_sync").unwrap_or(name);
            if before
                .split(' ')
                .all(|word| ["", "async", "const"].contains(&word))
                && !name.starts_with('$')
                && !named(twin)
                && !named(&format!("{twin}_sync"))
            {
                violations.push(format!("{}: {name}", path.display()));
            }
        }
    }
    report("docs/usage.md does not mention", &violations);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut violations = Vec::new();
    for (path, text) in all_sources() {
        let code = code_only(&text);
        for name in UNFINISHED {
            if code.contains(name) {
                violations.push(format!("{}: {name}", path.display()));
            }
        }
    }
    report("unfinished code", &violations);
}

#[test]
fn the_engine_touches_the_host_through_platform_and_io_only() {
    let mut violations = Vec::new();
    for (path, text) in library() {
        let code = code_only(&text);
        for name in HOST_NAMES {
            if code.contains(name) {
                violations.push(format!("{}: {name}", path.display()));
            }
        }
        for name in names_after(&code, "std::") {
            if name == "fs" {
                violations.push(format!("{}: std::{name}", path.display()));
            }
        }
    }
    report("use trine_platform and trine_io instead", &violations);
}

#[test]
fn documents_name_files_that_exist() {
    let mut violations = Vec::new();
    for (document, text) in documents() {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/') && !word.contains([' ', '*', '{', '<', '(', ':']);
            let inside = [
                "src/",
                "io/",
                "platform/",
                "tests/",
                "examples/",
                "docs/",
                "ci/",
                ".ci/",
            ];
            let ours = inside.iter().any(|directory| word.starts_with(directory));
            if is_path && ours && !root().join(word).exists() {
                violations.push(format!("{document}: {word}"));
            }
        }
    }
    report("documents name what does not exist", &violations);
}

#[test]
fn documents_agree_with_the_manifest() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let value = |key: &str| {
        let line = manifest
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")))
            .expect("a key");
        line.split('"').nth(1).expect("a value").to_owned()
    };
    let documents: BTreeMap<_, _> = documents().into_iter().collect();
    let mut violations = Vec::new();
    let mut needs = |document: &str, text: String| {
        if !documents
            .get(document)
            .is_some_and(|known| known.contains(&text))
        {
            violations.push(format!("{document} does not say `{text}`"));
        }
    };
    needs("README.md", format!("Rust {}", value("rust-version")));
    needs("CHANGELOG.md", format!("## [{}]", value("version")));
    needs("CHANGELOG.md", "*Format*".into());
    report("documents against Cargo.toml", &violations);
}

/// Markdown files of the root and of `docs/`, by name.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in ["", "docs", "docs/decisions"] {
        let Ok(entries) = fs::read_dir(root().join(directory)) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .display()
                    .to_string();
                found.push((name, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    found
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let code = code_only(
        "use crate::{a::b, c::{d, e}, f}; // crate::comment\n\
         let x = crate::g::h(\"crate::text\"); mycrate::no; use crate::i;",
    );
    let names: Vec<_> = names_after(&code, "crate::").into_iter().collect();
    assert_eq!(names, ["a", "c", "f", "g", "i"]);
}
