//! Values in, the bytes of a blob file out, front to back. Never writes them itself.
//!
//! What is produced waits in memory until it is taken; the caller writes it behind what it took before.

use crate::blob::footer::{BLOB_FILE, FOOTER_BYTES, encode_footer};
use crate::blob::{BlobIndex, BlobMeta};
use crate::block::frame::{self, BlockHandle, Frame};
use crate::compression::Codec;

/// Builds one blob file.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    number: u64,
    /// Produced, not yet taken; and how much was taken.
    pending: Vec<u8>,
    taken: u64,
    values: u64,
    value_bytes: u64,
}

impl BlobWriter {
    /// A writer of the blob file that will be file `number`.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            pending: BLOB_FILE.header(number),
            taken: 0,
            values: 0,
            value_bytes: 0,
        }
    }

    /// A writer that goes on behind what `meta` describes, all of which was taken.
    pub(crate) fn resume(meta: BlobMeta) -> Self {
        if meta.bytes == 0 {
            return Self::new(meta.number);
        }
        Self {
            number: meta.number,
            pending: Vec::new(),
            taken: meta.bytes,
            values: meta.values,
            value_bytes: meta.value_bytes,
        }
    }

    /// What was produced so far.
    pub(crate) fn meta(&self) -> BlobMeta {
        BlobMeta {
            number: self.number,
            bytes: self.bytes(),
            values: self.values,
            value_bytes: self.value_bytes,
        }
    }

    /// Takes a value, compressed if that pays.
    pub(crate) fn add(&mut self, value: &[u8], codec: Codec) -> BlobIndex {
        let offset = self.bytes();
        let record = frame::seal(&mut self.pending, value, codec, self.number, offset);
        self.count(record, u32::try_from(value.len()).unwrap_or(u32::MAX))
    }

    /// Takes a value of another blob file as it is stored there.
    pub(crate) fn add_stored(&mut self, value: &Frame<'_>) -> BlobIndex {
        let offset = self.bytes();
        let record = value.seal_again(&mut self.pending, self.number, offset);
        self.count(record, value.raw_bytes)
    }

    fn count(&mut self, record: BlockHandle, value_bytes: u32) -> BlobIndex {
        let ordinal = self.values;
        self.values += 1;
        self.value_bytes += u64::from(value_bytes);
        BlobIndex {
            file: self.number,
            ordinal,
            record,
            value_bytes,
        }
    }

    /// Length of the file so far: where the next record will lie.
    pub(crate) fn bytes(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    /// Bytes produced and not yet taken.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// How much was taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Gives back the memory of what was taken.
    pub(crate) fn reuse(&mut self, mut taken: Vec<u8>) {
        if self.pending.is_empty() {
            taken.clear();
            self.pending = taken;
        }
    }

    /// Takes what was produced; it belongs behind what was taken before.
    pub(crate) fn take_pending(&mut self) -> Vec<u8> {
        self.taken += self.pending.len() as u64;
        std::mem::take(&mut self.pending)
    }

    /// The last bytes, and what the manifest records of the whole.
    pub(crate) fn finish(mut self) -> (Vec<u8>, BlobMeta) {
        let meta = BlobMeta {
            number: self.number,
            bytes: self.bytes() + FOOTER_BYTES as u64,
            values: self.values,
            value_bytes: self.value_bytes,
        };
        self.pending.extend_from_slice(&encode_footer(&meta));
        (self.pending, meta)
    }
}
