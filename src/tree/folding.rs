//! What a flush or compaction makes of entries: operands put together as far as no reader can tell, and rows filtered.
//!
//! ```text
//! pinned                      10
//! versions of k   7=put   8+a    11+b  12+c      + is an operand
//! kept            8=put(a)       12+(b,c)        8 is worked out, 12 goes on to what readers at 10 see
//! ```
//!
//! - Only versions of one stripe (see `retention`) are put together, under the sequence of the newest.
//! - Their value is worked out where what they are merged into is known: a version of the same stripe, or nothing, where
//!   nothing older is left. Elsewhere their operands become one list, or one operand if the operator can combine them.
//! - A value that has expired is a tombstone from then on, for every reader.
//! - The bucket's filter, if it has one, decides on values that nobody reads who had begun before.
//! - An operator that fails, or is not there, fails no job: operands are kept, and their readers are told.

use std::sync::Arc;

use trine_io::Mode;

use crate::blob::{BlobIndex, BlobValue, GrowingFile};
use crate::composite::{Base, Composite, put_base, put_operand};
use crate::error::{Error, Fault, Result};
use crate::internal_key::{Entry, Kind, VALUE_BYTES_MAX};
use crate::operator::{BucketFilter, Verdict};
use crate::sequence::Sequence;
use crate::tree::retention::{Fate, Retention};
use crate::tree::rules::Rules;
use crate::tree::separation::Separation;
use crate::tree::version::Version;

/// So many open composites of a key are put together before the next is taken, for the memory they take.
const LAYERS_MAX: usize = 1024;

/// An entry that came of folding.
#[derive(Debug)]
pub(crate) struct Made {
    key: Vec<u8>,
    sequence: Sequence,
    kind: Kind,
    value: Vec<u8>,
    pub(crate) fate: Fate,
}

impl Made {
    fn of(entry: &Entry<'_>, fate: Fate) -> Self {
        Self {
            key: entry.key.to_vec(),
            sequence: entry.sequence,
            kind: entry.kind,
            value: entry.value.to_vec(),
            fate,
        }
    }

    pub(crate) fn entry(&self) -> Entry<'_> {
        Entry {
            key: &self.key,
            sequence: self.sequence,
            kind: self.kind,
            value: &self.value,
        }
    }
}

/// Decides which entries stay, takes these in order, and gives back what they become.
#[derive(Debug)]
pub(crate) struct Folding {
    retention: Retention,
    rules: Arc<Rules>,
    /// Holds the blob files that the inputs refer to.
    version: Arc<Version>,
    /// With the newest sequence at which somebody reads already.
    filter: Option<(BucketFilter, Sequence)>,
    /// Likewise, the file of the memtable that is flushed.
    growing: Option<Arc<GrowingFile>>,
    held: Option<Held>,
    made: Vec<Made>,
}

/// Composites of one key in one stripe, all but the last of them open.
#[derive(Debug)]
struct Held {
    key: Vec<u8>,
    /// Of the newest, as is the fate.
    sequence: Sequence,
    fate: Fate,
    /// The newest first.
    layers: Vec<Vec<u8>>,
}

fn fault(fault: Fault) -> Error {
    fault.at("composite", 0).into()
}

impl Held {
    /// All operands, the oldest first.
    fn operands(&self) -> Result<Vec<&[u8]>> {
        let mut operands = Vec::new();
        for layer in self.layers.iter().rev() {
            for operand in Composite::decode(layer).map_err(fault)?.operands() {
                operands.push(operand.map_err(fault)?);
            }
        }
        Ok(operands)
    }

    /// All of it as one composite.
    fn composite(&self, rules: &Rules, base: Base<'_>) -> Result<Vec<u8>> {
        let operands = self.operands()?;
        let combined = match &rules.operator {
            // Its failure costs space, and is told by whoever reads the key.
            Some(operator) if operands.len() > 1 => {
                operator.combine(&self.key, &operands).unwrap_or(None)
            }
            _ => None,
        };
        let mut composite = Vec::new();
        put_base(&mut composite, base);
        match combined {
            Some(operand) => put_operand(&mut composite, &operand),
            None => operands
                .iter()
                .for_each(|operand| put_operand(&mut composite, operand)),
        }
        Ok(composite)
    }
}

impl Folding {
    pub(crate) fn new(retention: Retention, rules: Arc<Rules>, separation: &Separation) -> Self {
        Self {
            retention,
            rules,
            version: Arc::clone(&separation.version),
            growing: separation.growing.as_ref().map(Arc::clone),
            filter: None,
            held: None,
            made: Vec::new(),
        }
    }

    /// Also applies the bucket's filter, above the newest pinned sequence.
    pub(crate) fn filtering(mut self, newest_pin: Sequence) -> Self {
        let filter = self.rules.filter.clone();
        self.filter = filter.map(|filter| (filter, newest_pin));
        self
    }

    pub(crate) fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Fed every entry once, in order.
    pub(crate) fn fate(&mut self, entry: &Entry<'_>) -> Fate {
        self.retention.fate(entry)
    }

    /// Whether the entry is to be taken; else it stays what it is.
    #[inline]
    pub(crate) fn concerns(&self, entry: &Entry<'_>) -> bool {
        self.held.is_some() || entry.kind == Kind::Composite || self.filter.is_some()
    }

    /// What has come of what was taken, in order.
    pub(crate) fn made(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    /// Takes an entry that stays.
    pub(crate) async fn take(&mut self, entry: &Entry<'_>, fate: Fate, mode: Mode) -> Result<()> {
        if let Some(held) = &self.held {
            let goes_on = held.key == entry.key;
            if !goes_on
                || !self
                    .retention
                    .are_in_one_stripe(held.sequence, entry.sequence)
            {
                self.leave(goes_on, mode).await?;
            }
        }
        if self.held.is_none() && entry.kind != Kind::Composite {
            return self.put(Made::of(entry, fate), mode).await;
        }
        let mut held = self.held.take().unwrap_or_else(|| Held {
            key: entry.key.to_vec(),
            sequence: entry.sequence,
            fate,
            layers: Vec::new(),
        });
        let beneath = || Some(Made::of(entry, fate));
        match entry.kind {
            Kind::Composite => {
                held.layers.push(entry.value.to_vec());
                let base = Composite::decode(entry.value).map_err(fault)?.base;
                if base != Base::Older {
                    return self.resolve(held, base, None, mode).await;
                }
                if held.layers.len() >= LAYERS_MAX {
                    held.layers = vec![held.composite(&self.rules, Base::Older)?];
                }
                self.held = Some(held);
                Ok(())
            }
            Kind::Tombstone => self.resolve(held, Base::Nothing, None, mode).await,
            Kind::Value => {
                let base = Base::Value(entry.value);
                self.resolve(held, base, beneath(), mode).await
            }
            Kind::Blob => {
                let value = self.blob(entry.value)?.read(mode).await?;
                let base = Base::Value(&value);
                self.resolve(held, base, beneath(), mode).await
            }
        }
    }

    /// The value that an entry refers to.
    fn blob(&self, encoded: &[u8]) -> Result<BlobValue> {
        let index = BlobIndex::decode(encoded).map_err(|fault| fault.at("table", 0))?;
        match &self.growing {
            Some(growing) if growing.number() == index.file => {
                Ok(BlobValue::new(Arc::clone(growing.reader()), index))
            }
            _ => self.version.blob(index),
        }
    }

    /// After the last entry.
    pub(crate) async fn end(&mut self, mode: Mode) -> Result<()> {
        self.leave(false, mode).await
    }

    /// No more versions of the held key come in this stripe; `goes_on`: in older ones they do.
    async fn leave(&mut self, goes_on: bool, mode: Mode) -> Result<()> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        let base = if goes_on || self.retention.may_be_beneath(&held.key) {
            Base::Older
        } else {
            Base::Nothing
        };
        self.resolve(held, base, None, mode).await
    }

    /// Works the value out if `base` is known and the operator does it; `beneath` is the entry that holds it, if not a composite.
    async fn resolve(
        &mut self,
        held: Held,
        base: Base<'_>,
        beneath: Option<Made>,
        mode: Mode,
    ) -> Result<()> {
        let base = self.rules.now(base);
        let existing = match base {
            // What has not expired yet will be something else then.
            Base::Older | Base::Expiring(..) => None,
            Base::Nothing => Some(None),
            Base::Value(value) => Some(Some(value)),
        };
        let operands = held.operands()?;
        let value = match (existing, &self.rules.operator) {
            (Some(existing), _) if operands.is_empty() => Some(existing.map(<[u8]>::to_vec)),
            (Some(existing), Some(operator)) => operator.merge(&held.key, existing, &operands).ok(),
            _ => None,
        };
        let fits = |value: &Vec<u8>| value.len() <= VALUE_BYTES_MAX;
        let (kind, value, beneath) = match value {
            Some(None) if self.retention.is_spent(&held.key, held.sequence) => return Ok(()),
            Some(None) => (Kind::Tombstone, Vec::new(), None),
            Some(Some(value)) if fits(&value) => (Kind::Value, value, None),
            _ => {
                let base = if beneath.is_some() { Base::Older } else { base };
                let composite = held.composite(&self.rules, base)?;
                (Kind::Composite, composite, beneath)
            }
        };
        let made = Made {
            key: held.key,
            sequence: held.sequence,
            kind,
            value,
            fate: held.fate,
        };
        self.put(made, mode).await?;
        self.made.extend(beneath);
        Ok(())
    }

    /// Makes the entry part of the output, as the filter says.
    async fn put(&mut self, mut made: Made, mode: Mode) -> Result<()> {
        match self.verdict(&made, mode).await? {
            Verdict::Remove if self.retention.is_spent(&made.key, made.sequence) => return Ok(()),
            Verdict::Remove => (made.kind, made.value) = (Kind::Tombstone, Vec::new()),
            Verdict::Change(value) if value.len() <= VALUE_BYTES_MAX => {
                (made.kind, made.value) = (Kind::Value, value);
            }
            Verdict::Keep | Verdict::Change(_) => {}
        }
        self.made.push(made);
        Ok(())
    }

    async fn verdict(&self, made: &Made, mode: Mode) -> Result<Verdict> {
        let Some((filter, newest_pin)) = &self.filter else {
            return Ok(Verdict::Keep);
        };
        if made.sequence <= *newest_pin || made.fate != Fate::Stays {
            return Ok(Verdict::Keep);
        }
        Ok(match made.kind {
            Kind::Tombstone | Kind::Composite => Verdict::Keep,
            Kind::Value => filter.filter(&made.key, &made.value),
            Kind::Blob => {
                let value = self.blob(&made.value)?.read(mode).await?;
                filter.filter(&made.key, &value)
            }
        })
    }
}
