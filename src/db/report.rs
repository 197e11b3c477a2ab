//! What an open repaired, written down beside the database.

use std::path::{Path, PathBuf};
use trine_platform::sorted::sort_few;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::error::{Error, Result};

/// The report's file name inside the database directory.
pub const RECOVERY_REPORT_FILE_NAME: &str = "RECOVERY_REPORT";

/// The longest report that is read.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// The first line of a report.
const TITLE: &str = "trine-kv recovery report 1";

/// Files that an open with
/// [`FailOnCorruptionPolicy::RepairSafeTemporaryFiles`](crate::FailOnCorruptionPolicy) removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    repaired: Vec<String>,
}

impl RecoveryReport {
    pub(crate) fn new(mut repaired: Vec<String>) -> Self {
        sort_few(&mut repaired, Ord::cmp);
        Self { repaired }
    }

    /// The names of the removed files, sorted, without directory.
    #[must_use]
    pub fn repaired_temporary_files(&self) -> &[String] {
        &self.repaired
    }

    /// Whether nothing was removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.repaired.is_empty()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{TITLE}\n");
        for name in &self.repaired {
            text.push_str(name);
            text.push('\n');
        }
        text.into_bytes()
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8(bytes).ok()?;
        let names = text.strip_prefix(TITLE)?.strip_prefix('\n')?;
        Some(Self {
            repaired: names.lines().map(str::to_owned).collect(),
        })
    }
}

/// Where the report of the database at `path` lies.
#[must_use]
pub fn recovery_report_path(path: &Path) -> PathBuf {
    path.join(RECOVERY_REPORT_FILE_NAME)
}

/// Reads the report of the database at `path`. It exists only after an open that repaired something.
///
/// # Errors
/// [`Error::Io`] of kind `NotFound` if there is none; [`Error::InvalidFormat`] if it is not a report.
///
/// # Cost
/// Reads one small file.
pub fn read_recovery_report(path: &Path) -> Result<RecoveryReport> {
    let storage = Storage::portable_inline(path);
    let bytes =
        block_on(storage.read_file(Mode::Blocking, RECOVERY_REPORT_FILE_NAME, REPORT_BYTES_MAX))?;
    RecoveryReport::decode(bytes).ok_or_else(|| Error::InvalidFormat {
        message: format!("{RECOVERY_REPORT_FILE_NAME} is not a recovery report"),
    })
}
