//! What an error says and what it is made from.

use std::error::Error as _;

use trine_kv::{DurabilityMode, Error};

#[test]
fn display_is_a_prefix_and_the_payload() {
    let message = || String::from("what");
    let cases = [
        (Error::Corruption { message: message() }, "corruption: what"),
        (
            Error::InvalidFormat { message: message() },
            "invalid format: what",
        ),
        (
            Error::UnsupportedFormat { message: message() },
            "unsupported format: what",
        ),
        (
            Error::CodecUnavailable {
                codec: "zip".into(),
            },
            "codec unavailable: zip",
        ),
        (
            Error::Conflict { message: message() },
            "transaction conflict: what",
        ),
        (Error::ReadOnly, "database is read-only"),
        (Error::Closed, "database is closed"),
        (Error::runtime_busy("what"), "runtime busy: what"),
        (
            Error::BucketMissing { name: "b".into() },
            "bucket is missing: b",
        ),
        (Error::invalid_options("what"), "invalid options: what"),
        (Error::unsupported("what"), "unsupported feature: what"),
        (
            Error::unsupported_backend("what"),
            "unsupported storage backend feature: what",
        ),
        (
            Error::unsupported_durability(DurabilityMode::SyncData),
            "unsupported durability mode: sync-data",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_none(), "only Io has a source: {error:?}");
    }
}

#[test]
fn durability_modes_are_named_in_words() {
    let text = |mode| Error::unsupported_durability(mode).to_string();
    assert!(text(DurabilityMode::Buffered).ends_with("buffered"));
    assert!(text(DurabilityMode::Flush).ends_with("flush"));
    assert!(text(DurabilityMode::SyncAll).ends_with("sync-all"));
}

#[test]
fn an_io_error_keeps_its_source() {
    let error = Error::from(std::io::Error::other("disk on fire"));
    assert_eq!(error.to_string(), "io error: disk on fire");
    assert!(error.source().is_some());
}
