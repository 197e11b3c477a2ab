//! The public error, and the typed failures that become it. Knows `trine_io`, nothing above itself.
//!
//! Inside, failures are typed values; where the public variant carries a message, one `Display`
//! builds it, so that every message names the same things in the same order: file, offset, fault.

use std::fmt;

use crate::durability::DurabilityMode;

/// `std::result::Result` of [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything a call can fail with. Variants say what the caller can do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system failed an operation. The only variant with a `source`.
    Io(std::io::Error),
    /// Stored bytes fail a check, the directory holds files it must not, or another writer holds the lock.
    Corruption {
        /// What is wrong, and where.
        message: String,
    },
    /// Stored bytes do not decode.
    InvalidFormat {
        /// What is wrong, and where.
        message: String,
    },
    /// Stored bytes are of a version that this build does not know. Nothing was touched.
    UnsupportedFormat {
        /// Which version was found, and where.
        message: String,
    },
    /// The codec that stored bytes were compressed with is not in this build.
    CodecUnavailable {
        /// The codec's name.
        codec: String,
    },
    /// Another commit touched what this transaction read. Nothing was applied; start it again.
    Conflict {
        /// Which read was in conflict.
        message: String,
    },
    /// The log does not reach back to these changes any more: whoever follows must start afresh from a copy.
    ChangesLost {
        /// The sequence after which they were asked for.
        after: u64,
        /// The first one that the log has, or about that.
        oldest: u64,
    },
    /// The bucket's merge operator was not given to this open, and the call needs it. Open again with it.
    MergeOperatorMissing {
        /// The name in the bucket's options.
        name: String,
    },
    /// The bucket's merge operator failed. The operands are kept as they are.
    MergeFailed {
        /// Its name.
        operator: String,
        /// What it said, or that it panicked.
        message: String,
    },
    /// The handle was opened read-only.
    ReadOnly,
    /// The database was closed.
    Closed,
    /// The runtime or the host cannot take the work now; try again later.
    RuntimeBusy {
        /// What is busy.
        message: String,
    },
    /// A batch or transaction names a bucket that does not exist.
    BucketMissing {
        /// The name.
        name: String,
    },
    /// An option, a name, a key, a value or a path cannot be accepted.
    InvalidOptions {
        /// Why.
        message: String,
    },
    /// This build or runtime lacks a feature.
    Unsupported {
        /// The feature.
        feature: &'static str,
    },
    /// The storage backend lacks a capability, or is not on this target.
    UnsupportedBackend {
        /// The capability.
        feature: &'static str,
    },
    /// The storage backend cannot honour the durability asked for.
    UnsupportedDurability {
        /// What was asked for.
        requested: DurabilityMode,
    },
}

impl Error {
    /// [`Error::Unsupported`].
    #[must_use]
    pub const fn unsupported(feature: &'static str) -> Self {
        Self::Unsupported { feature }
    }

    /// [`Error::UnsupportedBackend`].
    #[must_use]
    pub const fn unsupported_backend(feature: &'static str) -> Self {
        Self::UnsupportedBackend { feature }
    }

    /// [`Error::UnsupportedDurability`].
    #[must_use]
    pub const fn unsupported_durability(requested: DurabilityMode) -> Self {
        Self::UnsupportedDurability { requested }
    }

    /// [`Error::InvalidOptions`].
    #[must_use]
    pub fn invalid_options(message: impl Into<String>) -> Self {
        Self::InvalidOptions {
            message: message.into(),
        }
    }

    /// [`Error::RuntimeBusy`].
    #[must_use]
    pub fn runtime_busy(message: impl Into<String>) -> Self {
        Self::RuntimeBusy {
            message: message.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "io error: {error}"),
            Self::Corruption { message } => write!(f, "corruption: {message}"),
            Self::InvalidFormat { message } => write!(f, "invalid format: {message}"),
            Self::UnsupportedFormat { message } => write!(f, "unsupported format: {message}"),
            Self::CodecUnavailable { codec } => write!(f, "codec unavailable: {codec}"),
            Self::Conflict { message } => write!(f, "transaction conflict: {message}"),
            Self::ChangesLost { after, oldest } => write!(
                f,
                "changes lost: those after {after} are asked for, the log begins with {oldest}"
            ),
            Self::MergeOperatorMissing { name } => {
                write!(f, "merge operator {name} was not given to this open")
            }
            Self::MergeFailed { operator, message } => {
                write!(f, "merge operator {operator} failed: {message}")
            }
            Self::ReadOnly => f.write_str("database is read-only"),
            Self::Closed => f.write_str("database is closed"),
            Self::RuntimeBusy { message } => write!(f, "runtime busy: {message}"),
            Self::BucketMissing { name } => write!(f, "bucket is missing: {name}"),
            Self::InvalidOptions { message } => write!(f, "invalid options: {message}"),
            Self::Unsupported { feature } => write!(f, "unsupported feature: {feature}"),
            Self::UnsupportedBackend { feature } => {
                write!(f, "unsupported storage backend feature: {feature}")
            }
            Self::UnsupportedDurability { requested } => {
                let mode = match requested {
                    DurabilityMode::Buffered => "buffered",
                    DurabilityMode::Flush => "flush",
                    DurabilityMode::SyncData => "sync-data",
                    DurabilityMode::SyncAll => "sync-all",
                };
                write!(f, "unsupported durability mode: {mode}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<trine_io::Error> for Error {
    fn from(error: trine_io::Error) -> Self {
        Self::Io(std::io::Error::new(error.source.kind(), error))
    }
}

/// Stored bytes fail a check. Retrying cannot help.
///
/// Decoders that do not know where their bytes came from return a [`Fault`]; whoever knows the file adds it with [`Fault::at`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Corruption {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) fault: Fault,
}

/// What is wrong with some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes do not have the checksum stored beside them.
    Checksum { stored: u32, computed: u32 },
    /// A length or count claims more than there is (or than is allowed).
    Length { claimed: u64, available: u64 },
    /// A tag has no meaning.
    Tag(u8),
    /// Entries, fields or files are not in the order they must be.
    Order,
    /// A fixed field does not hold what it must.
    Field(&'static str),
    /// The file starts with something else than its kind's magic number.
    Magic,
    /// A format version above what this build reads.
    Version(u32),
    /// The codec is known to the format, absent from this build.
    #[cfg_attr(codec_zstd, expect(dead_code, reason = "every codec is in this build"))]
    Codec(&'static str),
}

impl Fault {
    pub(crate) fn at(self, file: &str, offset: u64) -> Corruption {
        Corruption {
            file: file.to_owned(),
            offset,
            fault: self,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { stored, computed } => {
                write!(
                    f,
                    "checksum mismatch (stored {stored:08x}, computed {computed:08x})"
                )
            }
            Self::Length { claimed, available } => {
                write!(f, "length {claimed} exceeds the {available} available")
            }
            Self::Tag(tag) => write!(f, "unknown tag {tag}"),
            Self::Order => f.write_str("out of order"),
            Self::Field(name) => write!(f, "bad {name}"),
            Self::Magic => f.write_str("bad magic number"),
            Self::Version(version) => write!(f, "format version {version} is not known"),
            Self::Codec(name) => write!(f, "codec {name} is not in this build"),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.file, self.offset, self.fault)
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        match corruption.fault {
            Fault::Version(_) => Self::UnsupportedFormat {
                message: corruption.to_string(),
            },
            Fault::Codec(name) => Self::CodecUnavailable {
                codec: name.to_owned(),
            },
            Fault::Checksum { .. } | Fault::Order => Self::Corruption {
                message: corruption.to_string(),
            },
            Fault::Length { .. } | Fault::Tag(_) | Fault::Field(_) | Fault::Magic => {
                Self::InvalidFormat {
                    message: corruption.to_string(),
                }
            }
        }
    }
}
