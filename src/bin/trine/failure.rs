//! How the program ends when it does not end well: what it says, and its exit code.
//!
//! `docs/cli.md` documents the codes; scripts rely on them.

use std::io;

use trine_kv::Error;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The key, or the bucket, is not there.
    NotFound(String),
    /// The arguments make no sense here, or the directory holds no database.
    Usage(String),
    /// The host or the library failed.
    Failed(String),
    /// Stored bytes are wrong.
    Damage(String),
    /// Another process has the database open for writing.
    Locked(String),
    /// Rows that were to be read are not in the form that was named.
    Input(String),
    /// Ctrl-C.
    Interrupted(String),
    /// Whoever read our output has seen enough.
    NobodyReads,
    /// It was told already; the code is this.
    Told(u8),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::NotFound(_) => 1,
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
            Self::Damage(_) => 4,
            Self::Locked(_) => 5,
            Self::Input(_) => 6,
            Self::Interrupted(_) => 130,
            Self::Told(code) => *code,
        }
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) {
        match self {
            Self::NobodyReads | Self::Told(_) => {}
            Self::NotFound(text)
            | Self::Usage(text)
            | Self::Failed(text)
            | Self::Damage(text)
            | Self::Locked(text)
            | Self::Input(text)
            | Self::Interrupted(text) => eprintln!("trine: {text}"),
        }
    }

    /// The failure of doing something with the file or directory that is named.
    pub(crate) fn at(what: &std::path::Path, error: &io::Error) -> Self {
        Self::Failed(format!("{}: {error}", what.display()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::NobodyReads
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Corruption { message } if message.contains("lock is already held") => {
                Self::Locked(message)
            }
            Error::Corruption { .. }
            | Error::InvalidFormat { .. }
            | Error::UnsupportedFormat { .. } => Self::Damage(text),
            Error::BucketMissing { name } => Self::NotFound(format!("there is no bucket {name:?}")),
            Error::MergeOperatorMissing { name } => Self::Usage(format!(
                "the bucket merges with {name:?}: say what that does with --operator {name}=KIND"
            )),
            Error::InvalidOptions { message } => Self::Usage(message),
            Error::CodecUnavailable { codec } => Self::Failed(format!(
                "this program was built without the codec {codec}: build it with --features cli,{codec}"
            )),
            _ => Self::Failed(text),
        }
    }
}
