//! All surviving entries of one bucket, merged: by key, the newest version of each first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use trine_io::Mode;

use crate::error::Result;
use crate::file_name::table_name;
use crate::internal_key::{Entry, Kind};
use crate::range_tombstone::{Fragments, RangeTombstone};
use crate::salvage::report::Loss;
use crate::salvage::source::loss;
use crate::sequence::Sequence;
use crate::table::{Anatomy, PartKind};

/// An entry of its own. The order of the fields is that of the engine.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owned {
    pub(super) key: Vec<u8>,
    newest_first: Reverse<Sequence>,
    is_value: u8,
    pub(super) value: Vec<u8>,
}

impl Owned {
    pub(super) fn of(entry: &Entry<'_>) -> Self {
        Self {
            key: entry.key.to_vec(),
            newest_first: Reverse(entry.sequence),
            is_value: entry.kind as u8,
            value: entry.value.to_vec(),
        }
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.newest_first.0
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::from_tag(self.is_value).unwrap_or(Kind::Tombstone)
    }
}

/// Where entries come from, in their order.
#[derive(Debug)]
struct Stream {
    /// Read, and not yet given.
    ready: VecDeque<Owned>,
    /// `None`: of the log, all of which is ready.
    table: Option<Anatomy>,
    /// The next block of the table.
    block: usize,
}

/// The entries of one bucket.
#[derive(Debug)]
pub(super) struct Rows {
    streams: Vec<Stream>,
    /// The next entry of each stream.
    heads: BinaryHeap<Reverse<(Owned, usize)>>,
    tombstones: Fragments,
    bucket: String,
}

impl Rows {
    /// Of these tables and what the log has: entries in order, and range tombstones.
    pub(super) fn new(
        bucket: &str,
        tables: Vec<Anatomy>,
        log: Vec<Owned>,
        log_tombstones: &Fragments,
    ) -> Self {
        let mut all: Vec<&Fragments> = tables
            .iter()
            .filter_map(|table| table.tombstones.as_ref())
            .collect();
        all.push(log_tombstones);
        let tombstones = Fragments::build(all.into_iter().flat_map(each));
        let mut streams: Vec<_> = tables
            .into_iter()
            .map(|table| Stream {
                ready: VecDeque::new(),
                table: Some(table),
                block: 0,
            })
            .collect();
        streams.push(Stream {
            ready: log.into(),
            table: None,
            block: 0,
        });
        Self {
            streams,
            heads: BinaryHeap::new(),
            tombstones,
            bucket: bucket.to_owned(),
        }
    }

    /// Reads the first entry of each stream.
    pub(super) async fn begin(&mut self, losses: &mut Vec<Loss>, mode: Mode) -> Result<()> {
        for number in 0..self.streams.len() {
            self.advance(number, losses, mode).await?;
        }
        Ok(())
    }

    /// The next entry.
    pub(super) async fn next(
        &mut self,
        losses: &mut Vec<Loss>,
        mode: Mode,
    ) -> Result<Option<Owned>> {
        let Some(Reverse((entry, number))) = self.heads.pop() else {
            return Ok(None);
        };
        self.advance(number, losses, mode).await?;
        Ok(Some(entry))
    }

    /// Whether a range tombstone hides the entry.
    pub(super) fn is_hidden(&self, entry: &Owned) -> bool {
        let newest = Sequence::new(u64::MAX);
        let covering = self.tombstones.covering(&entry.key, newest);
        covering.is_some_and(|covering| covering > entry.sequence())
    }

    async fn advance(&mut self, number: usize, losses: &mut Vec<Loss>, mode: Mode) -> Result<()> {
        let Some(stream) = self.streams.get_mut(number) else {
            return Ok(());
        };
        while stream.ready.is_empty() {
            let Some(table) = &stream.table else { break };
            let Some(block) = table.blocks.get(stream.block) else {
                break;
            };
            let ready = &mut stream.ready;
            let walked = table
                .entries(block, |entry| ready.push_back(Owned::of(entry)), mode)
                .await?;
            if let Err(fault) = walked {
                let before = stream
                    .block
                    .checked_sub(1)
                    .and_then(|before| table.blocks.get(before));
                let before = before.and_then(|before| before.separator.clone());
                let range = (block.handle.offset, Some(block.handle.length.into()));
                losses.push(Loss {
                    bucket: Some(self.bucket.clone()),
                    keys: block
                        .separator
                        .clone()
                        .map(|last| (before.unwrap_or_default(), last)),
                    ..loss(
                        &table_name(table.number),
                        range,
                        "data block",
                        fault.to_string(),
                        true,
                    )
                });
            }
            stream.block += 1;
        }
        if let Some(entry) = stream.ready.pop_front() {
            self.heads.push(Reverse((entry, number)));
        }
        Ok(())
    }
}

fn each(fragments: &Fragments) -> impl Iterator<Item = RangeTombstone> {
    fragments.as_slice().iter().flat_map(|fragment| {
        fragment.sequences.iter().map(|sequence| RangeTombstone {
            start: fragment.start.clone(),
            end: fragment.end.clone(),
            sequence: *sequence,
        })
    })
}

/// What of a table is lost beside the blocks that the index names.
pub(super) fn note_losses(table: &Anatomy, bucket: &str, losses: &mut Vec<Loss>) {
    let name = table_name(table.number);
    let mut note = |range, what, fault: String, costs_rows| {
        losses.push(Loss {
            bucket: Some(bucket.to_owned()),
            ..loss(&name, range, what, fault, costs_rows)
        });
    };
    if let Err(fault) = &table.header {
        note((0, None), "header", fault.to_string(), false);
    }
    for lost in &table.lost {
        let bytes = lost.end.checked_sub(lost.start);
        note(
            (lost.start, bytes),
            "data blocks",
            "none is found here".to_owned(),
            true,
        );
    }
    for part in &table.parts {
        if let Err(fault) = &part.bytes {
            let range = (part.handle.offset, Some(part.handle.length.into()));
            let is_tombstones = part.kind == PartKind::Tombstones;
            let what = if is_tombstones {
                "range tombstones"
            } else {
                "filter, index or properties"
            };
            note(range, what, fault.to_string(), is_tombstones);
        }
    }
    if let Err(fault) = &table.footer {
        note((table.bytes, None), "footer", fault.to_string(), false);
        if table.tombstones.is_none() {
            let fault = "not found without the footer".to_owned();
            note(
                (table.bytes, None),
                "range tombstones, if there were any",
                fault,
                true,
            );
        }
    }
}
