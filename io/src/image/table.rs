//! What files an image has: names, lengths, and where their chunks lie.
//!
//! A table is what its records say, one after the other. The same [`Table::apply`] serves changes as they are made
//! and their replay, so the two cannot differ.

use std::io::{self, ErrorKind};

use crate::image::chunks::{CHUNK_BYTES, Extent};
use trine_platform::sorted::SortedMap;

/// A file for as long as it exists, whatever it is called. Never used again within one opening of an image.
pub(crate) type NodeId = u32;

/// One change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// The file, an empty new one if it is not known, has this name; who had it before is gone.
    Name { id: NodeId, name: String },
    /// These chunks follow the file's last.
    Extent { id: NodeId, extent: Extent },
    /// The file is so long; chunks that it does not reach are free.
    Length { id: NodeId, length: u64 },
    /// The file is gone.
    Remove { id: NodeId },
}

/// A file's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) length: u64,
    pub(crate) extents: Vec<Extent>,
}

impl Node {
    pub(crate) fn chunks(&self) -> u64 {
        self.extents
            .iter()
            .map(|extent| u64::from(extent.count))
            .sum()
    }

    pub(crate) fn extend(&mut self, extent: Extent) {
        match self.extents.last_mut() {
            Some(last) if last.end() == Some(extent.start) => last.count += extent.count,
            _ => self.extents.push(extent),
        }
    }

    /// The chunks that the file gives up.
    pub(crate) fn set_length(&mut self, length: u64) -> Vec<Extent> {
        self.length = length;
        let mut keep = length.div_ceil(CHUNK_BYTES);
        let mut freed = Vec::new();
        self.extents.retain_mut(|extent| {
            // What is kept of it is at most its count.
            let kept = u32::try_from(keep).map_or(extent.count, |keep| keep.min(extent.count));
            keep -= u64::from(kept);
            if kept < extent.count {
                freed.push(Extent {
                    start: extent.start + kept,
                    count: extent.count - kept,
                });
            }
            extent.count = kept;
            kept > 0
        });
        freed
    }
}

/// The files that have names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    names: SortedMap<String, NodeId>,
    nodes: SortedMap<NodeId, Node>,
}

/// What a change left behind.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Chunks that nobody has any more.
    pub(crate) freed: Vec<Extent>,
    /// A file without a name; those who have it open may read on.
    pub(crate) unnamed: Option<(NodeId, Node)>,
}

impl Table {
    pub(crate) fn id(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// An identity that no file has, or had since this table was opened.
    pub(crate) fn last_id(&self) -> NodeId {
        self.nodes.last_key_value().map_or(0, |(id, _)| *id)
    }

    pub(crate) fn extents(&self) -> Vec<Extent> {
        let nodes = self.nodes.values();
        nodes
            .flat_map(|node| node.extents.iter().copied())
            .collect()
    }

    /// Makes one change; `InvalidData` if it cannot be one of this table.
    pub(crate) fn apply(&mut self, record: Record) -> io::Result<Left> {
        let mut left = Left::default();
        match record {
            Record::Name { id, name } => {
                self.names.retain(|_, named| *named != id);
                if let Some(before) = self.names.insert(name, id) {
                    left.unnamed = self.nodes.remove(&before).map(|node| (before, node));
                }
                self.nodes.get_or_default(id);
            }
            Record::Extent { id, extent } => {
                extent.end().ok_or(ErrorKind::InvalidData)?;
                self.known(id)?.extend(extent);
            }
            Record::Length { id, length } => {
                let node = self.known(id)?;
                if length > node.chunks().saturating_mul(CHUNK_BYTES) {
                    return Err(ErrorKind::InvalidData.into());
                }
                left.freed = node.set_length(length);
            }
            Record::Remove { id } => {
                self.names.retain(|_, named| *named != id);
                let node = self.nodes.remove(&id).ok_or(ErrorKind::InvalidData)?;
                left.unnamed = Some((id, node));
            }
        }
        Ok(left)
    }

    fn known(&mut self, id: NodeId) -> io::Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or(ErrorKind::InvalidData.into())
    }

    /// The changes that make this table of an empty one.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> {
        self.names.iter().flat_map(|(name, id)| {
            let node = self.nodes.get(id);
            let name = Record::Name {
                id: *id,
                name: name.clone(),
            };
            let extents = node.into_iter().flat_map(|node| &node.extents);
            let extents = extents.map(|extent| Record::Extent {
                id: *id,
                extent: *extent,
            });
            let length = node.map(|node| Record::Length {
                id: *id,
                length: node.length,
            });
            std::iter::once(name).chain(extents).chain(length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: NodeId, name: &str) -> Record {
        let name = name.to_owned();
        Record::Name { id, name }
    }

    fn extent(id: NodeId, start: u32, count: u32) -> Record {
        let extent = Extent { start, count };
        Record::Extent { id, extent }
    }

    fn table(records: Vec<Record>) -> Table {
        let mut table = Table::default();
        for record in records {
            table.apply(record).unwrap();
        }
        table
    }

    #[test]
    fn a_table_is_what_its_own_records_say() {
        let length = 100_000;
        let made = table(vec![
            name(1, "a"),
            extent(1, 4, 1),
            extent(1, 0, 2),
            Record::Length { id: 1, length },
            name(2, "b"),
            name(1, "c"),
        ]);
        assert_eq!(made.names().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(table(made.records().collect()), made);
    }

    #[test]
    fn a_name_has_one_file_and_a_file_one_name() {
        let mut made = table(vec![name(1, "a"), name(2, "b"), extent(2, 0, 1)]);
        let left = made.apply(name(1, "b")).unwrap();
        let (id, node) = left.unnamed.unwrap();
        assert_eq!((id, node.chunks()), (2, 1));
        assert_eq!(made.names().collect::<Vec<_>>(), ["b"]);
        assert_eq!(made.id("b"), Some(1));
    }

    #[test]
    fn a_cut_frees_the_chunks_behind_it() {
        let mut made = table(vec![name(1, "a"), extent(1, 5, 2), extent(1, 0, 2)]);
        let length = CHUNK_BYTES + 1;
        let left = made.apply(Record::Length { id: 1, length }).unwrap();
        assert_eq!(left.freed, [Extent { start: 0, count: 2 }]);
        assert_eq!(made.node(1).unwrap().chunks(), 2);
    }

    #[test]
    fn records_that_no_table_made_are_refused() {
        let mut made = table(vec![name(1, "a")]);
        let length = 1;
        for record in [
            extent(2, 0, 1),
            extent(1, u32::MAX, 2),
            Record::Length { id: 1, length },
            Record::Remove { id: 2 },
        ] {
            assert!(made.apply(record).is_err());
        }
    }
}
