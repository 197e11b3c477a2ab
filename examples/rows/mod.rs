//! Rows that do not compress, for the examples that measure what maintenance and backups move.

pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const VALUE_BYTES: usize = 100;

/// xorshift64*: enough to scatter keys, and to make values that do not compress.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn value(&mut self) -> [u8; VALUE_BYTES] {
        let mut value = [0; VALUE_BYTES];
        for piece in value.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
        value
    }
}

/// Sixteen bytes, ordered as the numbers are.
pub(crate) fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key-....--------";
    key[KEY_BYTES - 8..].copy_from_slice(&number.to_be_bytes());
    key
}
