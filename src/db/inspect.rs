//! Looking at a database as a whole: its buckets, the size of a range, whether every byte is right.

use trine_io::Mode;
use trine_platform::block_on;

use crate::db::bucket::BucketName;
use crate::db::{Core, Db};
use crate::error::Result;
use crate::key::KeyRange;
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::version::Version;

/// What [`Db::verify`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Tables read from end to end.
    pub tables: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The entries in them, tombstones among them.
    pub entries: u64,
    /// Values read from blob files: those that the entries refer to.
    pub blob_values: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}

impl Db {
    /// The names of all buckets but the default one, sorted.
    ///
    /// # Cost
    /// Copies the names; no I/O.
    #[must_use]
    pub fn bucket_names(&self) -> Vec<BucketName> {
        let trees = self.core().trees.load();
        let mut names: Vec<&str> = trees.iter().map(|tree| tree.name()).collect();
        names.retain(|name| !crate::db::write::is_default(name));
        names.sort_unstable();
        names.into_iter().map(BucketName::from).collect()
    }

    /// Reads every table from its file and checks all that can be checked: each block's checksum, the
    /// order of all entries, that indexes and filters find them, that the totals are right, and every value
    /// in a blob file that an entry refers to.
    /// `progress` is called after each table with what was read so far.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) or
    /// [`Error::InvalidFormat`](crate::Error::InvalidFormat) naming file and offset of the first fault;
    /// [`Error::Io`](crate::Error::Io); [`Error::Closed`](crate::Error::Closed).
    ///
    /// # Cost
    /// Reads all table files and all live values, past the caches. Reads and writes go on meanwhile.
    pub async fn verify(
        &self,
        progress: impl FnMut(VerifyReport) + Send + 'static,
    ) -> Result<VerifyReport> {
        self.core()
            .offload(move |core| async move { core.verify(progress, Mode::Blocking).await })
            .await
    }

    /// [`verify`](Self::verify) on this thread.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_sync(&self, progress: impl FnMut(VerifyReport)) -> Result<VerifyReport> {
        block_on(self.core().verify(progress, Mode::Blocking))
    }
}

impl Core {
    async fn verify(
        &self,
        mut progress: impl FnMut(VerifyReport),
        mode: Mode,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        for tree in self.trees.load().iter() {
            let view = tree.pin();
            for table in view.version.tables() {
                self.check_open()?;
                table.verify(|index| view.version.blob(index), mode).await?;
                report.tables += 1;
                report.bytes += table.meta().bytes;
                report.entries += table.meta().entries;
                for used in table.meta().blobs.iter() {
                    report.blob_values += used.values;
                    report.blob_bytes += used.value_bytes;
                }
                progress(report);
            }
            for share in view.version.blobs() {
                share.file.verify(mode).await?;
            }
        }
        Ok(report)
    }
}

/// About how many bytes of files hold the keys of `range` and their values.
pub(crate) fn approximate_size(tree: &Tree, range: &KeyRange) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let (start, end) = range.to_half_open();
    let view = tree.pin();
    let version = &view.version;
    let tables = version
        .tables()
        .filter(|table| table.meta().overlaps(range));
    tables
        .map(|table| {
            let within = table.bytes_within(&start, end.as_deref(), Mode::Blocking);
            let within = block_on(within);
            let blobs = share(blob_bytes(version, table), within, table.meta().bytes);
            within.saturating_add(blobs)
        })
        .sum()
}

/// About how many bytes of blob files hold the values that the table refers to.
fn blob_bytes(version: &Version, table: &Table) -> u64 {
    let used = table.meta().blobs.iter().filter_map(|used| {
        let file = version.share(used.file)?.file.meta();
        Some(share(file.bytes, used.value_bytes, file.value_bytes))
    });
    used.sum()
}

/// Of `bytes` as large a share as `part` is of `whole`.
fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    let exact = u128::from(bytes) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX)
}
