//! Why nothing is written any more, from the first failure on: kept by the commit path, told to every later call.

use crate::error::Error;

/// Why nothing is written any more.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The database was closed.
    Closed,
    /// A write or sync of the log failed.
    Log {
        kind: std::io::ErrorKind,
        message: String,
    },
}

impl Failure {
    pub(crate) fn lost() -> Self {
        Self::Log {
            kind: std::io::ErrorKind::BrokenPipe,
            message: "the thread that led the commit went away; its outcome is unknown until the database is reopened"
                .to_owned(),
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        let kind = match error {
            Error::Io(error) => error.kind(),
            _ => std::io::ErrorKind::Other,
        };
        Self::Log {
            kind,
            message: format!(
                "an earlier write of the log or of the manifest failed, reopen the database: {error}"
            ),
        }
    }

    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Log { kind, message } => Error::Io(std::io::Error::new(*kind, message.clone())),
        }
    }
}
