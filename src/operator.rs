//! What an application adds to a bucket's data: code that is named in the bucket's options and given anew at each open.
//!
//! Called by reads and by background work, on any thread, and never under a lock. What panics in it ends here.

use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;

use trine_platform::sorted::SortedMap;

use crate::error::{Error, Result};

/// What an operator may fail with.
pub type OperatorError = Box<dyn std::error::Error + Send + Sync>;

/// What a merge comes to: bytes, or none.
pub type Merged = std::result::Result<Option<Vec<u8>>, OperatorError>;

/// Turns operands that were [merged](crate::Db::merge) into a key, and the value that it had before, into its value.
///
/// It must be a function of what it is given and of nothing else: it runs whenever the key is read, again when tables are
/// merged, and its answers must not depend on how often or how far operands were put together by then. So, for all splits of
/// the operands, merging the second part into what merging the first part gives must give what merging all of them gives.
///
/// Closures are operators without [`combine`](Self::combine).
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{BucketOptions, Db, DbOptions, MergeOperator, Merged};
///
/// struct Counter;
///
/// fn sum<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Merged {
///     let mut sum = 0u64;
///     for number in numbers {
///         sum = sum.wrapping_add(u64::from_le_bytes(number.try_into()?));
///     }
///     Ok(Some(sum.to_le_bytes().to_vec()))
/// }
///
/// impl MergeOperator for Counter {
///     fn merge(&self, _: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
///         sum(existing.into_iter().chain(operands.iter().copied()))
///     }
///
///     fn combine(&self, _: &[u8], operands: &[&[u8]]) -> Merged {
///         sum(operands.iter().copied())
///     }
/// }
///
/// let db = Db::open_sync(DbOptions::memory().with_merge_operator("counter", Counter))?;
/// let counters = BucketOptions::default().with_merge_operator("counter");
/// let counters = db.bucket_with_options_sync("counters", counters)?;
/// for visits in [1u64, 2, 39] {
///     counters.merge_sync("page", visits.to_le_bytes())?;
/// }
/// assert_eq!(counters.get_sync(b"page")?, Some(42u64.to_le_bytes().to_vec()));
/// # Ok(())
/// # }
/// ```
pub trait MergeOperator: Send + Sync + 'static {
    /// The value of `key` after `operands`, oldest first, were merged into `existing`, the value that it had before them.
    /// `None`: the key has no value any more.
    ///
    /// # Errors
    /// What it likes: who reads the key gets it as [`Error::MergeFailed`](crate::Error::MergeFailed), and the operands are kept as they are.
    fn merge(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged;

    /// One operand that does what `operands`, oldest first, do one after the other; `None` if there is none. Keys into which
    /// much is merged between two reads then take little space.
    ///
    /// # Errors
    /// What it likes: the operands are kept as they are.
    fn combine(&self, key: &[u8], operands: &[&[u8]]) -> Merged {
        let _ = (key, operands);
        Ok(None)
    }
}

impl<F> MergeOperator for F
where
    F: Fn(&[u8], Option<&[u8]>, &[&[u8]]) -> Merged + Send + Sync + 'static,
{
    fn merge(&self, key: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
        self(key, existing, operands)
    }
}

/// An application's code, shared.
pub(crate) struct Shared<T: ?Sized>(pub(crate) Arc<T>);

// Its panics end where it is called, so whoever leads to it is as sound after one as before.
impl<T: ?Sized> UnwindSafe for Shared<T> {}
impl<T: ?Sized> RefUnwindSafe for Shared<T> {}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: ?Sized> Eq for Shared<T> {}

/// Merge operators by name, as [`DbOptions`](crate::DbOptions) carry them. Two are equal if they share all of theirs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MergeOperators(SortedMap<String, Shared<dyn MergeOperator>>);

impl MergeOperators {
    /// Without any.
    #[must_use]
    pub const fn new() -> Self {
        Self(SortedMap::new())
    }

    /// Adds an operator, in the place of another one of that name.
    pub fn insert(&mut self, name: impl Into<String>, operator: impl MergeOperator) {
        self.0.insert(name.into(), Shared(Arc::new(operator)));
    }

    /// The names of all, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for MergeOperators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The operator that a bucket names.
#[derive(Clone)]
pub(crate) struct NamedOperator {
    name: String,
    /// `None`: this open was not given it.
    operator: Option<Shared<dyn MergeOperator>>,
}

impl fmt::Debug for NamedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedOperator").field(&self.name).finish()
    }
}

impl NamedOperator {
    pub(crate) fn new(name: &str, operators: &MergeOperators) -> Self {
        Self {
            name: name.to_owned(),
            operator: operators.0.get(name).cloned(),
        }
    }

    /// Fails if this open was not given it.
    pub(crate) fn check(&self) -> Result<&dyn MergeOperator> {
        self.operator
            .as_ref()
            .map(|operator| &*operator.0)
            .ok_or_else(|| Error::MergeOperatorMissing {
                name: self.name.clone(),
            })
    }

    pub(crate) fn merge(
        &self,
        key: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> Result<Option<Vec<u8>>> {
        let operator = self.check()?;
        self.guarded(|| operator.merge(key, existing, operands))
    }

    pub(crate) fn combine(&self, key: &[u8], operands: &[&[u8]]) -> Result<Option<Vec<u8>>> {
        let operator = self.check()?;
        self.guarded(|| operator.combine(key, operands))
    }

    fn guarded<T>(
        &self,
        call: impl FnOnce() -> std::result::Result<T, OperatorError>,
    ) -> Result<T> {
        let failed = |message: String| Error::MergeFailed {
            operator: self.name.clone(),
            message,
        };
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it panicked".to_owned())),
        }
    }
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Keep,
    /// It goes, as if it was deleted.
    Remove,
    /// It gets another value.
    Change(Vec<u8>),
}

/// Looks at the rows of a bucket while tables are merged, and removes or changes some.
///
/// It is part of maintenance, not a write: it runs on rows that compaction rewrites anyway, some of them soon, some late, some
/// never, and perhaps several times on one. So its answers should not depend on how often it was asked. What it removes or changes has no
/// sequence: no transaction conflicts with it, and [`Db::changes`](crate::Db::changes) does not tell of it.
///
/// It sees the newest version of a key among the tables that are merged, newer ones may be elsewhere; of a key that was
/// [merged](crate::Db::merge) into, the value once it is worked out. It does not see rows that expire, nor what somebody reads who began before the compaction
/// did: snapshots, iterators and transactions keep what they see. A snapshot that is taken while a compaction runs may see a row before and miss it after.
///
/// Where it panics the row stays. Closures are filters.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{Db, DbOptions, KeyRange, Verdict};
///
/// # let home = tempfile::tempdir()?;
/// # let path = home.path();
/// let filter = |key: &[u8], value: &[u8]| match value {
///     b"spent" => Verdict::Remove,
///     b"secret" => Verdict::Change(b"withheld".to_vec()),
///     _ => Verdict::Keep,
/// };
/// let db = Db::open_sync(DbOptions::new(path).with_compaction_filter("default", filter))?;
/// // Two tables over the same keys: one alone would be moved as it is.
/// for value in ["new", "spent"] {
///     db.put_sync("a", value)?;
///     db.put_sync("b", "secret")?;
///     db.put_sync("c", "of use")?;
///     db.flush_sync()?;
/// }
/// db.compact_range_sync(KeyRange::all())?;
/// assert_eq!(db.get_sync(b"a")?, None);
/// assert_eq!(db.get_sync(b"b")?.as_deref(), Some(&b"withheld"[..]));
/// # Ok(())
/// # }
/// ```
pub trait CompactionFilter: Send + Sync + 'static {
    /// What becomes of the row.
    fn filter(&self, key: &[u8], value: &[u8]) -> Verdict;
}

impl<F> CompactionFilter for F
where
    F: Fn(&[u8], &[u8]) -> Verdict + Send + Sync + 'static,
{
    fn filter(&self, key: &[u8], value: &[u8]) -> Verdict {
        self(key, value)
    }
}

/// Compaction filters by the names of their buckets, as [`DbOptions`](crate::DbOptions) carry them. Two are equal if they share
/// all of theirs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CompactionFilters(SortedMap<String, Shared<dyn CompactionFilter>>);

impl CompactionFilters {
    /// Without any.
    #[must_use]
    pub const fn new() -> Self {
        Self(SortedMap::new())
    }

    /// Sets the filter of a bucket, `"default"` for the default one.
    pub fn insert(&mut self, bucket: impl Into<String>, filter: impl CompactionFilter) {
        self.0.insert(bucket.into(), Shared(Arc::new(filter)));
    }

    pub(crate) fn of(&self, bucket: &str) -> Option<BucketFilter> {
        self.0.get(bucket).cloned().map(BucketFilter)
    }
}

impl fmt::Debug for CompactionFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The filter of one bucket.
#[derive(Clone)]
pub(crate) struct BucketFilter(Shared<dyn CompactionFilter>);

impl fmt::Debug for BucketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketFilter")
    }
}

impl BucketFilter {
    pub(crate) fn filter(&self, key: &[u8], value: &[u8]) -> Verdict {
        let filter = &self.0.0;
        catch_unwind(AssertUnwindSafe(|| filter.filter(key, value))).unwrap_or(Verdict::Keep)
    }
}
