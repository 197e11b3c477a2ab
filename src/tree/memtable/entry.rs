//! An entry as it lies in the arena: a header, the key's bytes, the value's bytes, without gaps.
//!
//! Header and key share their first cache line, so one fetch usually settles a comparison.
//! An entry never changes once a pointer to it is published. The layout never reaches the disk.

#![expect(
    unsafe_code,
    reason = "reads what lies behind pointers into the arena; see the contract of the memtable"
)]

use std::alloc::Layout;
use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::internal_key::{self, Entry, Kind};
use crate::sequence::Sequence;
use crate::tree::arena::Arena;

/// The kind's tag takes the top bits of the value's length.
const KIND_SHIFT: u32 = 30;
const VALUE_LENGTH_MAX: u32 = (1 << KIND_SHIFT) - 1;

#[repr(C)]
pub(super) struct Header {
    sequence: u64,
    key_length: u32,
    kind_and_value_length: u32,
}

/// Where the key starts.
const KEY_OFFSET: usize = size_of::<Header>();

/// An initialised entry in an arena that outlives `'m`.
#[derive(Clone, Copy)]
pub(super) struct EntryRef<'m> {
    header: NonNull<Header>,
    memtable: PhantomData<&'m Header>,
}

impl<'m> EntryRef<'m> {
    /// Copies an entry into the arena.
    ///
    /// # Safety
    /// The arena outlives `'m`.
    pub(super) unsafe fn write(arena: &mut Arena, entry: Entry<'_>) -> Self {
        let key_length = u32::try_from(entry.key.len()).expect("commits check the key's length");
        let value_length = u32::try_from(entry.value.len())
            .ok()
            .filter(|length| *length <= VALUE_LENGTH_MAX)
            .expect("commits check the value's length");
        let bytes = KEY_OFFSET + entry.key.len() + entry.value.len();
        let layout = Layout::from_size_align(bytes, align_of::<Header>())
            .expect("an entry fits the address space");
        let start = arena.allocate(layout);
        // SAFETY: the header lies at the start of what was just allocated, with its alignment.
        unsafe {
            start.cast().write(Header {
                sequence: entry.sequence.get(),
                key_length,
                kind_and_value_length: (entry.kind as u32) << KIND_SHIFT | value_length,
            });
        }
        // SAFETY: the header's size is within the allocation.
        let key = unsafe { start.add(KEY_OFFSET) };
        // SAFETY: the key's bytes fit behind the header; fresh memory overlaps nothing.
        unsafe { key.copy_from_nonoverlapping(NonNull::from(entry.key).cast(), entry.key.len()) };
        // SAFETY: the key's length is within the allocation.
        let value = unsafe { key.add(entry.key.len()) };
        // SAFETY: the value's bytes fit behind the key; fresh memory overlaps nothing.
        unsafe {
            value.copy_from_nonoverlapping(NonNull::from(entry.value).cast(), entry.value.len());
        }
        Self {
            header: start.cast(),
            memtable: PhantomData,
        }
    }

    /// Takes a pointer back that [`EntryRef::as_ptr`] gave.
    ///
    /// # Safety
    /// It came from there, with acquire ordering if from another thread, and its arena outlives `'m`.
    pub(super) unsafe fn from_ptr(header: NonNull<Header>) -> Self {
        Self {
            header,
            memtable: PhantomData,
        }
    }

    pub(super) fn as_ptr(self) -> NonNull<Header> {
        self.header
    }

    fn header(self) -> &'m Header {
        // SAFETY: the header is initialised, never changes, and outlives `'m`.
        unsafe { self.header.as_ref() }
    }

    /// # Safety
    /// `offset + length` is within the entry.
    unsafe fn bytes(self, offset: usize, length: u32) -> &'m [u8] {
        // SAFETY: the caller's.
        let start = unsafe { self.header.cast::<u8>().add(offset) };
        // SAFETY: these bytes were written with the header, never change, and outlive `'m`.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length as usize) }
    }

    pub(super) fn key(self) -> &'m [u8] {
        // SAFETY: the key follows the header.
        unsafe { self.bytes(KEY_OFFSET, self.header().key_length) }
    }

    pub(super) fn position(self) -> Position<'m> {
        Position {
            key: self.key(),
            sequence: Sequence::new(self.header().sequence),
        }
    }

    pub(super) fn entry(self) -> Entry<'m> {
        let header = self.header();
        let tag = header.kind_and_value_length >> KIND_SHIFT;
        let Some(kind) = u8::try_from(tag).ok().and_then(Kind::from_tag) else {
            unreachable!("an entry is written from a kind")
        };
        let length = header.kind_and_value_length & VALUE_LENGTH_MAX;
        Entry {
            key: self.key(),
            sequence: Sequence::new(header.sequence),
            kind,
            // SAFETY: the value follows the key.
            value: unsafe { self.bytes(KEY_OFFSET + header.key_length as usize, length) },
        }
    }

    /// Its place relative to `position`.
    pub(super) fn compare(self, position: Position<'_>) -> Ordering {
        let sequence = Sequence::new(self.header().sequence);
        internal_key::compare((self.key(), sequence), (position.key, position.sequence))
    }
}

/// A place in the order, whether or not an entry lies there.
#[derive(Clone, Copy)]
pub(super) struct Position<'k> {
    pub(super) key: &'k [u8],
    pub(super) sequence: Sequence,
}

/// The eight bytes of `key` from `skip` on, zero padded: unequal prefixes are ordered as their keys are,
/// if the keys share their first `skip` bytes. Equal ones say nothing.
pub(super) fn prefix(key: &[u8], skip: u32) -> u64 {
    let rest = key.get(skip as usize..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// How many bytes two keys share.
pub(super) fn common(left: &[u8], right: &[u8]) -> u32 {
    let bytes = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    u32::try_from(bytes).expect("commits check the key's length")
}
