//! Rows in a binary form: `docs/cli.md`, "The binary form".
//!
//! ```text
//! file  = "TRINEROW" version u32 chunk*
//! chunk = bytes u32, crc32c u32 (of the bytes and their place), record*
//! ```
//!
//! A file that does not end with the record that counts the rows was cut.

use std::io::{BufRead, Read, Write};

use crate::failure::Failure;
use crate::rows::Row;

const MAGIC: &[u8; 8] = b"TRINEROW";
const VERSION: u32 = 1;
/// A chunk ends once it holds this much.
const CHUNK_BYTES: usize = 1 << 16;
/// The largest key and the largest value in one chunk, with room to spare.
const CHUNK_BYTES_MAX: u32 = 192 << 20;
const ROW: u8 = 0;
const BUCKET: u8 = 1;
const END: u8 = 2;
const EXPIRING_ROW: u8 = 3;

/// LEB128.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Of the chunk's bytes, and which one it is: chunks cannot change places.
fn checksum(payload: &[u8], number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(payload), &number.to_le_bytes())
}

#[derive(Debug)]
pub(crate) struct Writer<W> {
    target: W,
    chunk: Vec<u8>,
    chunks: u64,
    rows: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut target: W) -> Result<Self, Failure> {
        target.write_all(MAGIC)?;
        target.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            target,
            chunk: Vec::new(),
            chunks: 0,
            rows: 0,
        })
    }

    pub(super) fn bucket(&mut self, name: &str) {
        self.chunk.push(BUCKET);
        put_bytes(&mut self.chunk, name.as_bytes());
    }

    pub(super) fn row(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_millis: Option<u64>,
    ) -> Result<(), Failure> {
        if let Some(at) = expires_millis {
            self.chunk.push(EXPIRING_ROW);
            put_varint(&mut self.chunk, at);
        } else {
            self.chunk.push(ROW);
        }
        put_bytes(&mut self.chunk, key);
        put_bytes(&mut self.chunk, value);
        self.rows += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let bytes = u32::try_from(self.chunk.len())
            .map_err(|_| Failure::Failed("a row is too large".to_owned()))?;
        self.target.write_all(&bytes.to_le_bytes())?;
        let checksum = checksum(&self.chunk, self.chunks);
        self.target.write_all(&checksum.to_le_bytes())?;
        self.target.write_all(&self.chunk)?;
        self.chunk.clear();
        self.chunks += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.chunk.push(END);
        put_varint(&mut self.chunk, self.rows);
        self.flush()
    }
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    source: R,
    chunk: Vec<u8>,
    /// How much of the chunk was read.
    at: usize,
    chunks: u64,
    rows: u64,
    bucket: Option<String>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(mut source: R) -> Result<Self, Failure> {
        let mut header = [0; 12];
        source
            .read_exact(&mut header)
            .map_err(|_| refuse("this is no file of rows"))?;
        let (magic, version) = header.split_at(8);
        if magic != MAGIC {
            return Err(refuse("this is no file of rows"));
        }
        if version != VERSION.to_le_bytes() {
            return Err(refuse("a newer version of this program wrote it"));
        }
        Ok(Self {
            source,
            chunk: Vec::new(),
            at: 0,
            chunks: 0,
            rows: 0,
            bucket: None,
            ended: false,
        })
    }

    fn fill(&mut self) -> Result<(), Failure> {
        let cut = |_| refuse("the file ends early");
        let mut word = [0; 4];
        self.source.read_exact(&mut word).map_err(cut)?;
        let bytes = u32::from_le_bytes(word);
        self.source.read_exact(&mut word).map_err(cut)?;
        let wanted = u32::from_le_bytes(word);
        if bytes > CHUNK_BYTES_MAX {
            return Err(self.damaged());
        }
        self.chunk.clear();
        let source = &mut self.source;
        let read = source.take(u64::from(bytes)).read_to_end(&mut self.chunk)?;
        if read != bytes as usize {
            return Err(refuse("the file ends early"));
        }
        if checksum(&self.chunk, self.chunks) != wanted {
            return Err(self.damaged());
        }
        self.at = 0;
        self.chunks += 1;
        Ok(())
    }

    fn damaged(&self) -> Failure {
        refuse(&format!("chunk {} is damaged", self.chunks))
    }

    fn varint(&mut self) -> Result<u64, Failure> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.chunk.get(self.at).ok_or_else(|| self.damaged())?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        let length = self.varint()?;
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let found = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length));
        let bytes = found.ok_or_else(|| self.damaged())?.to_vec();
        self.at += bytes.len();
        Ok(bytes)
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        while !self.ended {
            let Some(kind) = self.chunk.get(self.at).copied() else {
                self.fill()?;
                continue;
            };
            self.at += 1;
            match kind {
                ROW | EXPIRING_ROW => {
                    self.rows += 1;
                    let expires_millis = match kind {
                        ROW => None,
                        _ => Some(self.varint()?),
                    };
                    return Ok(Some(Row {
                        expires_millis,
                        bucket: self.bucket.clone(),
                        key: self.bytes()?,
                        value: self.bytes()?,
                    }));
                }
                BUCKET => {
                    let name = String::from_utf8(self.bytes()?).map_err(|_| self.damaged())?;
                    self.bucket = Some(name);
                }
                END if self.varint()? == self.rows => self.ended = true,
                _ => return Err(self.damaged()),
            }
        }
        Ok(None)
    }
}

fn refuse(why: &str) -> Failure {
    Failure::Input(why.to_owned())
}
