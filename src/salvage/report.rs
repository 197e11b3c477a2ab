//! What a salvage found, and what it did not.

/// What came out of a damaged directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The buckets of the new database.
    pub buckets: Vec<SalvagedBucket>,
    /// What could not be read, file by file.
    pub losses: Vec<Loss>,
    /// Whether the whole manifest was read. If not, files that it did not know any more may have been read too.
    pub manifest_complete: bool,
}

impl SalvageReport {
    /// The rows of all buckets.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.rows).sum()
    }

    /// Whether any row, or the deletion of one, may be missing.
    #[must_use]
    pub fn lost_rows(&self) -> bool {
        self.losses.iter().any(|loss| loss.costs_rows)
    }
}

/// A bucket of the new database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedBucket {
    /// Its name there.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The tables that were read for it.
    pub tables: usize,
    /// Whether its name and options are those of the old database. If not, nothing told whose the rows were.
    pub is_known: bool,
}

/// A part of a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file's name.
    pub file: String,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is, if that is known.
    pub bytes: Option<u64>,
    /// What it was: `"data block"`, `"log records"`, `"value"`, and so on.
    pub what: &'static str,
    /// What is wrong with it.
    pub fault: String,
    /// The bucket it belonged to, if that is known.
    pub bucket: Option<String>,
    /// Of a lost block or value, keys between which its own were: the first excluded unless it is empty, the last included.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether rows went with it. Of these keys an older version may be in the new database, or none, and what
    /// they had deleted may be there again.
    pub costs_rows: bool,
}
