//! Why a log file takes nothing any more.
//!
//! After a failed write or sync nobody knows what the disk holds, and a second sync of the same file
//! may succeed without the first one's bytes (Rebello et al., ATC 2020). So the first failure is
//! kept and every later call gets it again. The same holds for an operation whose future was
//! dropped while it ran: it counts as failed until its result was seen.

use std::io::ErrorKind;

use crate::error::{Error, Result};

/// The first failure of a log file, if there was one.
#[derive(Debug, Default)]
pub(crate) struct Poison(Option<(ErrorKind, String)>);

impl Poison {
    /// Fails if an earlier operation failed or was abandoned.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.0 {
            None => Ok(()),
            Some((kind, message)) => Err(std::io::Error::new(
                *kind,
                format!("after an earlier failure: {message}"),
            )
            .into()),
        }
    }

    /// Before an operation: poisoned until [`Poison::settle`] sees its result.
    pub(crate) fn arm(&mut self) {
        self.0 = Some((
            ErrorKind::Other,
            "a log operation was abandoned before its result was known".to_owned(),
        ));
    }

    /// Takes the operation's result: success clears what [`Poison::arm`] did, failure stays.
    pub(crate) fn settle<T>(&mut self, result: trine_io::Result<T>) -> Result<T> {
        match result {
            Ok(value) => {
                self.0 = None;
                Ok(value)
            }
            Err(error) => {
                self.0 = Some((error.source.kind(), error.to_string()));
                Err(Error::from(error))
            }
        }
    }
}
