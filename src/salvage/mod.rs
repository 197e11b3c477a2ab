//! Saves what is left of a damaged database: every intact record, into a new one.
//!
//! - What its own checksum covers is believed; the manifest is of use, and not needed. Nothing of the old directory changes.
//! - Of each key the newest version that survived is taken, unless a deletion that survived hides it. Where something was lost an older
//!   version may show, or what a lost deletion hid: the report names each place, and its keys where they are known.
//! - Tables and records of the log whose bucket nothing tells go to buckets of their own: rows of two
//!   buckets are never mixed.

mod log;
mod report;
mod rows;
mod source;
#[cfg(all(test, not(loom)))]
mod tests;

pub use report::{Loss, SalvageReport, SalvagedBucket};

use std::collections::BTreeMap;
use std::path::Path;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::commit::batch::{DEFAULT_BUCKET, WriteBatch};
use crate::composite::{Base, Composite, put_base, put_operand};
use crate::db::Db;
use crate::db::bucket::{Bucket, open_or_create};
use crate::error::{Error, Result};
use crate::internal_key::Kind;
use crate::manifest::BucketId;
use crate::options::{BucketOptions, DbOptions, DurabilityMode, WriteOptions};
use crate::salvage::log::Log;
use crate::salvage::rows::Rows;
use crate::salvage::source::{Blobs, Source, TableFile, loss};
use crate::table::Anatomy;

const MODE: Mode = Mode::Blocking;
/// One commit holds about so much.
const BATCH_BYTES: usize = 1 << 20;

/// How a salvage goes about what is not certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageOptions {
    /// Where rows go whose bucket nothing tells. `None`: each table's to a bucket of their own, `salvaged-table-NNNNNN`. A name
    /// is right if the old database had that bucket only.
    pub unknown_rows_into: Option<String>,
}

impl SalvageOptions {
    /// Puts rows whose bucket nothing tells into this one.
    #[must_use]
    pub fn with_unknown_rows_into(mut self, bucket: impl Into<String>) -> Self {
        self.unknown_rows_into = Some(bucket.into());
        self
    }
}

/// How far a salvage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageProgress {
    /// Rows written to the new database.
    pub rows: u64,
    /// At most so many entries are left to be looked at, by what the tables say of themselves.
    pub entries: u64,
}

/// Copies every intact record of the database in `from`, which nobody may have open for writing, into a new database in `to`.
/// `progress` is called now and then.
///
/// # Errors
/// [`Error::InvalidOptions`] if `to` exists and is not empty, or `from` holds no file of a database;
/// [`Error::UnsupportedFormat`], [`Error::CodecUnavailable`]; [`Error::Io`]. Damage is no error: it is in the report.
///
/// # Durability
/// The new database survives power loss when the call returns.
///
/// # Cost
/// Reads all of the old database once, a log segment or manifest into memory as a whole; writes the new one.
pub fn salvage_sync(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: &SalvageOptions,
    progress: impl FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let from = Storage::portable_inline(from.as_ref());
    let target = Storage::portable_inline(to.as_ref());
    let open = |default: BucketOptions| {
        let options = DbOptions::new(to.as_ref())
            .with_durability(DurabilityMode::Buffered)
            .with_default_bucket_options(default);
        Db::open_sync(options)
    };
    block_on(salvage(&from, &target, open, options, progress))
}

async fn salvage(
    from: &Storage,
    target: &Storage,
    open: impl FnOnce(BucketOptions) -> Result<Db>,
    options: &SalvageOptions,
    mut progress: impl FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    if target.exists(MODE).await? && !target.list(MODE).await?.is_empty() {
        return Err(Error::invalid_options("the new directory is not empty"));
    }
    if !from.exists(MODE).await? {
        return Err(Error::invalid_options("database path does not exist"));
    }
    let names = from.list(MODE).await?;
    let mut losses = Vec::new();
    let source = Source::read(from, &names, &mut losses, MODE).await?;
    let mut log = Log::read(from, &names, &source, &mut losses, MODE).await?;
    let tables = source.table_files(from, &names, &mut losses, MODE).await?;

    let default = source.buckets.get(&BucketId(0));
    let db = open(
        default
            .map(|bucket| bucket.options.clone())
            .unwrap_or_default(),
    )?;
    let mut report = SalvageReport {
        manifest_complete: source.complete,
        ..SalvageReport::default()
    };
    let mut blobs = Blobs::new(from, &names);
    let mut far = SalvageProgress::default();
    for (name, share) in shares(&source, &log, tables, options) {
        let mut anatomies = Vec::new();
        for table in share.tables {
            let anatomy = Anatomy::of(table.file, table.number, MODE).await?;
            rows::note_losses(&anatomy, &name, &mut losses);
            far.entries += anatomy.properties.as_ref().map_or(0, |found| found.entries);
            anatomies.push(anatomy);
        }
        let (entries, tombstones) = share.log.map(|id| log.take(id)).unwrap_or_default();
        let tables = anatomies.len();
        let mut rows = Rows::new(&name, anatomies, entries, &tombstones);
        let mut writer = Writer::new(&db, &name, share.options)?;
        rows.begin(&mut losses, MODE).await?;
        let mut settled: Option<Vec<u8>> = None;
        let mut merging = Merging::default();
        while let Some(entry) = rows.next(&mut losses, MODE).await? {
            if settled.as_deref() == Some(&entry.key) {
                continue;
            }
            if merging.key != entry.key {
                far.rows += merging.write(&mut writer, None, &mut losses)?;
            }
            let value = match entry.kind() {
                _ if rows.is_hidden(&entry) => None,
                Kind::Tombstone => None,
                Kind::Value => Some(entry.value),
                Kind::Composite => {
                    let is_open = Composite::is_open(&entry.value);
                    merging.key.clone_from(&entry.key);
                    merging.layers.push(entry.value);
                    if is_open {
                        continue;
                    }
                    None
                }
                Kind::Blob => match blobs.read(&entry.value, MODE).await? {
                    Ok(value) => Some(value),
                    Err(loss) => {
                        // An older version may be whole.
                        losses.push(Loss {
                            bucket: Some(name.clone()),
                            keys: Some((Vec::new(), entry.key)),
                            ..loss
                        });
                        continue;
                    }
                },
            };
            if !merging.layers.is_empty() {
                far.rows += merging.write(&mut writer, value.as_deref(), &mut losses)?;
            } else if let Some(value) = value {
                writer.put(&entry.key, value)?;
                far.rows += 1;
                if far.rows.is_multiple_of(1024) {
                    progress(far);
                }
            }
            settled = Some(entry.key);
        }
        far.rows += merging.write(&mut writer, None, &mut losses)?;
        report.buckets.push(SalvagedBucket {
            rows: writer.finish()?,
            name,
            tables,
            is_known: share.is_known,
        });
    }
    report.losses = losses;
    db.persist_sync(DurabilityMode::SyncAll)?;
    db.flush_sync()?;
    db.close_sync();
    Ok(report)
}

/// Composites of one key, and what they are merged into.
#[derive(Default)]
struct Merging {
    key: Vec<u8>,
    /// The newest first.
    layers: Vec<Vec<u8>>,
}

impl Merging {
    /// Writes the same operands and what they are merged into, `beneath` if they do not say; how many rows that is.
    fn write(
        &mut self,
        writer: &mut Writer<'_>,
        beneath: Option<&[u8]>,
        losses: &mut Vec<Loss>,
    ) -> Result<u64> {
        let (key, layers) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.layers),
        );
        if layers.is_empty() {
            return Ok(0);
        }
        let lost = |fault: String| Loss {
            bucket: writer.bucket.clone(),
            keys: Some((key.clone(), key.clone())),
            ..loss("", (0, None), "operands", fault, true)
        };
        let mut base = beneath.map_or(Base::Older, Base::Value);
        let mut operands = Vec::new();
        for layer in layers.iter().rev() {
            let parts = Composite::decode(layer).and_then(|composite| {
                let operands = composite
                    .operands()
                    .collect::<std::result::Result<Vec<_>, _>>();
                Ok((composite.base, operands?))
            });
            match parts {
                Ok((found, more)) => {
                    if found != Base::Older {
                        base = found;
                    }
                    operands.extend(more);
                }
                Err(fault) => {
                    losses.push(lost(fault.to_string()));
                    return Ok(0);
                }
            }
        }
        if !operands.is_empty() && writer.target.options().merge_operator.is_none() {
            losses.push(lost("nothing tells which operator they are for".to_owned()));
            return Ok(0);
        }
        let mut composite = Vec::new();
        put_base(&mut composite, base);
        for operand in operands {
            put_operand(&mut composite, operand);
        }
        writer.put_composite(&key, &composite)?;
        Ok(1)
    }
}

/// What becomes one bucket of the new database.
#[derive(Debug, Default)]
struct Share {
    tables: Vec<TableFile>,
    log: Option<BucketId>,
    options: BucketOptions,
    is_known: bool,
}

/// Whose everything is, by the names that the buckets will have.
fn shares(
    source: &Source,
    log: &Log,
    tables: Vec<TableFile>,
    options: &SalvageOptions,
) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    let mut named: BTreeMap<BucketId, String> = BTreeMap::new();
    for (id, bucket) in &source.buckets {
        named.insert(*id, bucket.name.clone());
        let share = Share {
            options: bucket.options.clone(),
            is_known: true,
            ..Share::default()
        };
        shares.insert(bucket.name.clone(), share);
    }
    let name_of = |id: BucketId| match named.get(&id) {
        Some(name) => name.clone(),
        // Its number is the same in every database.
        None if id == BucketId(0) => DEFAULT_BUCKET.to_owned(),
        None => format!("salvaged-bucket-{}", id.0),
    };
    for table in tables {
        let own = || format!("salvaged-table-{:06}", table.number);
        let name = match table.bucket {
            Some(id) => name_of(id),
            None => options.unknown_rows_into.clone().unwrap_or_else(own),
        };
        shares.entry(name).or_default().tables.push(table);
    }
    for id in log.buckets() {
        shares.entry(name_of(id)).or_default().log = Some(id);
    }
    shares
}

/// Writes the rows of one bucket.
struct Writer<'d> {
    db: &'d Db,
    /// `None`: the default one.
    bucket: Option<String>,
    batch: WriteBatch,
    bytes: usize,
    rows: u64,
    target: Bucket,
}

impl<'d> Writer<'d> {
    fn new(db: &'d Db, name: &str, options: BucketOptions) -> Result<Self> {
        let bucket = (name != DEFAULT_BUCKET).then(|| name.to_owned());
        let any = db.keyspace();
        let target = match &bucket {
            None => any.clone(),
            // Whether or not the operator it names is here: nothing is read.
            Some(name) => block_on(open_or_create(any, name.as_str().into(), options, MODE))?,
        };
        Ok(Self {
            db,
            bucket,
            batch: WriteBatch::new(),
            bytes: 0,
            rows: 0,
            target,
        })
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.bytes += key.len() + value.len();
        self.rows += 1;
        match &self.bucket {
            None => self.batch.put(key, value),
            Some(bucket) => self.batch.put_bucket(bucket.clone(), key, value)?,
        }
        if self.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// A row that has to be worked out, in a commit of its own.
    fn put_composite(&mut self, key: &[u8], composite: &[u8]) -> Result<()> {
        self.rows += 1;
        let (core, tree) = (self.target.core(), self.target.tree());
        let prepared = core.prepare_one(tree, WriteOptions::buffered(), |batch| {
            batch.merge(tree.id(), key, composite)
        })?;
        core.commit_blocking(prepared).map(drop)
    }

    fn commit(&mut self) -> Result<()> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.db
            .write_sync(batch, WriteOptions::buffered())
            .map(drop)
    }

    fn finish(mut self) -> Result<u64> {
        self.commit()?;
        Ok(self.rows)
    }
}
