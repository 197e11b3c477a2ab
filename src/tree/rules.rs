//! What makes values out of composites: the rules of one bucket, and the versions of one key put on each other.

use std::collections::VecDeque;

use crate::clock::Clock;
use crate::composite::{Base, Composite};
use crate::error::{Error, Fault, Result};
use crate::internal_key::{Entry, Kind};
use crate::operator::{BucketFilter, NamedOperator};
use crate::options::{BucketOptions, DbOptions};

/// The rules of one bucket.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// `None`: nothing can be merged into it.
    pub(crate) operator: Option<NamedOperator>,
    pub(crate) filter: Option<BucketFilter>,
    pub(crate) clock: Clock,
}

impl Rules {
    /// Of the bucket `name`, which has these options.
    pub(crate) fn of(db: &DbOptions, name: &str, bucket: &BucketOptions) -> Self {
        let operator = bucket.merge_operator.as_deref();
        Self {
            operator: operator.map(|name| NamedOperator::new(name, &db.merge_operators)),
            filter: db.compaction_filters.of(name),
            clock: db.clock.clone(),
        }
    }

    /// The base as it is now: what has expired is nothing.
    pub(crate) fn now<'b>(&self, base: Base<'b>) -> Base<'b> {
        match base {
            Base::Expiring(at, _) if at <= self.clock.now() => Base::Nothing,
            base => base,
        }
    }

    /// Whether compaction makes other entries of those it meets, and does not only leave some out.
    pub(crate) fn change_entries(&self) -> bool {
        self.operator.is_some() || self.filter.is_some()
    }

    /// The operator, of which every operand came.
    pub(crate) fn operator(&self) -> Result<&NamedOperator> {
        // No write gets past this, so it concerns bytes on disk.
        let missing = || Error::from(Fault::Field("merge operator").at("bucket", 0));
        self.operator.as_ref().ok_or_else(missing)
    }
}

/// What a value is made of: versions of one key down to the first that older ones do not matter to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    /// Composites, the newest first. All but the last are open.
    layers: VecDeque<Vec<u8>>,
    /// What is beneath: a value, or where it lies.
    beneath: Option<(Kind, Vec<u8>)>,
}

impl Stack {
    pub(crate) fn clear(&mut self) {
        self.layers.clear();
        self.beneath = None;
    }

    /// Takes the next older version; false if still older ones do not matter.
    pub(crate) fn push_older(&mut self, entry: &Entry<'_>) -> bool {
        match entry.kind {
            Kind::Composite => {
                self.layers.push_back(entry.value.to_vec());
                Composite::is_open(entry.value)
            }
            Kind::Tombstone => false,
            kind @ (Kind::Value | Kind::Blob) => {
                self.beneath = Some((kind, entry.value.to_vec()));
                false
            }
        }
    }

    /// Takes the next newer version, a composite; `below` is the value or place of a value that came before it, if that is
    /// all that is known of the key.
    pub(crate) fn push_newer(&mut self, composite: &[u8], below: Option<(Kind, &[u8])>) {
        if !Composite::is_open(composite) {
            self.clear();
        } else if let Some((kind, value)) = below {
            self.beneath = Some((kind, value.to_vec()));
        }
        self.layers.push_front(composite.to_vec());
    }

    /// Where the value beneath lies, if that is a blob file.
    pub(crate) fn blob(&self) -> Option<&[u8]> {
        match &self.beneath {
            Some((Kind::Blob, index)) => Some(index),
            _ => None,
        }
    }

    /// When what it is made of expires, if it has not yet, in milliseconds since 1970-01-01 UTC.
    pub(crate) fn expires_millis(&self, rules: &Rules) -> Option<u64> {
        let composites = self.layers.iter().map(|layer| Composite::decode(layer));
        let mut bases = composites.filter_map(|composite| Some(rules.now(composite.ok()?.base)));
        match bases.find(|base| *base != Base::Older) {
            Some(Base::Expiring(at, _)) => Some(at),
            _ => None,
        }
    }

    /// The value of `key`, which these are the versions of; `fetched` is the one beneath, if that is in a blob file.
    pub(crate) fn value(
        &self,
        rules: &Rules,
        key: &[u8],
        fetched: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>> {
        let fault = |fault: Fault| Error::from(fault.at("composite", 0));
        let mut base = match &self.beneath {
            None => None,
            Some((Kind::Blob, _)) => fetched,
            Some((_, value)) => Some(value.as_slice()),
        };
        let mut operands = Vec::new();
        for layer in self.layers.iter().rev() {
            let layer = Composite::decode(layer).map_err(fault)?;
            match rules.now(layer.base) {
                Base::Older => {}
                Base::Nothing => base = None,
                Base::Value(value) | Base::Expiring(_, value) => base = Some(value),
            }
            for operand in layer.operands() {
                operands.push(operand.map_err(fault)?);
            }
        }
        if operands.is_empty() {
            return Ok(base.map(<[u8]>::to_vec));
        }
        rules.operator()?.merge(key, base, &operands)
    }
}
