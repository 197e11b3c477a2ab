//! The words of scripts: bytes, ranges, rows, options, answers.

use std::ops::Bound;

use trine_kv::{
    BucketOptions, CommitInfo, DbOptions, DurabilityMode, FilterPolicy, KeyRange, KeyValue,
    MaintenanceOutcome, PrefixFilterPolicy, Result,
};

/// `''` is empty, `\xff` a byte, all else stands for itself.
pub(crate) fn bytes(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = if word == "''" { "" } else { word };
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let (digits, after) = after.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
        rest = after;
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// `bucket/key`, or a key of the default bucket.
pub(crate) fn place(word: &str) -> (Option<&str>, Vec<u8>) {
    match word.split_once('/') {
        Some((bucket, key)) => (Some(if bucket == "''" { "" } else { bucket }), bytes(key)),
        None => (None, bytes(word)),
    }
}

/// `a..c`, `a..=c`, `(a..c` without `a`, `..`; an end that is left out is unbounded.
pub(crate) fn range(word: &str) -> KeyRange {
    let (start, end) = word.split_once("..").expect("a range");
    let start = match start.strip_prefix('(') {
        Some(start) => Bound::Excluded(bytes(start)),
        None if start.is_empty() => Bound::Unbounded,
        None => Bound::Included(bytes(start)),
    };
    let end = match end.strip_prefix('=') {
        Some(end) => Bound::Included(bytes(end)),
        None if end.is_empty() => Bound::Unbounded,
        None => Bound::Excluded(bytes(end)),
    };
    KeyRange { start, end }
}

pub(crate) fn durability(word: &str) -> DurabilityMode {
    match word {
        "buffered" => DurabilityMode::Buffered,
        "flush" => DurabilityMode::Flush,
        "sync-data" => DurabilityMode::SyncData,
        "sync-all" => DurabilityMode::SyncAll,
        _ => panic!("no durability mode: {word}"),
    }
}

fn number(value: &str) -> usize {
    value.parse().expect("a number")
}

pub(crate) fn set(options: &mut DbOptions, word: &str) {
    let (name, value) = word.split_once('=').expect("name=value");
    match name {
        "write_buffer_bytes" => options.write_buffer_bytes = number(value),
        "max_immutable_memtables" => options.max_immutable_memtables = number(value),
        "durability" => options.durability = durability(value),
        "read_only" => options.read_only = value == "true",
        _ => set_bucket(&mut options.default_bucket_options, word),
    }
}

pub(crate) fn set_bucket(options: &mut BucketOptions, word: &str) {
    let (name, value) = word.split_once('=').expect("name=value");
    match name {
        "allow_empty_keys" => options.allow_empty_keys = value == "true",
        "block_bytes" => options.block_bytes = number(value),
        "bits_per_key" => {
            let bits_per_key = value.parse().expect("bits");
            options.filter_policy = FilterPolicy::Bloom { bits_per_key };
        }
        "bits_per_prefix" => {
            let bits_per_prefix = value.parse().expect("bits");
            options.prefix_filter_policy = PrefixFilterPolicy::Bloom { bits_per_prefix };
        }
        "blob_threshold_bytes" => options.blob_threshold_bytes = number(value),
        _ => panic!("no option: {word}"),
    }
}

pub(crate) fn show(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "''".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    bytes
        .iter()
        .map(|&byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("\\x{byte:02x}")
            }
        })
        .collect()
}

pub(crate) fn show_row(row: &KeyValue) -> String {
    format!("{}={}", show(&row.key), show(&row.value))
}

pub(crate) fn show_rows(rows: &[KeyValue]) -> String {
    if rows.is_empty() {
        return "nothing".to_owned();
    }
    rows.iter().map(show_row).collect::<Vec<_>>().join(" ")
}

pub(crate) fn show_value(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "none".to_owned(), show)
}

pub(crate) fn show_commit(commit: CommitInfo) -> String {
    format!("ok @{}", commit.sequence().get())
}

pub(crate) fn show_outcome(outcome: MaintenanceOutcome) -> String {
    let mut shown = format!(
        "{} flushed, {} compacted",
        outcome.flushes, outcome.compactions
    );
    if outcome.budget_exhausted {
        shown.push_str(", more to do");
    }
    shown
}

pub(crate) fn answer<T>(result: Result<T>, show: impl FnOnce(T) -> String) -> String {
    result.map_or_else(|error| format!("refused: {error}"), show)
}
