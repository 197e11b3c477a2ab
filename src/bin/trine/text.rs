//! Keys and values as text, and back.
//!
//! What is printed in a form can be given back in the same form, byte for byte.

use std::fmt::Write as _;

use clap::ValueEnum;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// UTF-8; a backslash as \\, control characters as \t, \n, \r or \xNN, and so bytes that are not UTF-8
    Utf8,
    /// Two hexadecimal digits for each byte
    Hex,
    /// Base 64 with padding
    Base64,
    /// The bytes as they are
    Raw,
}

impl Encoding {
    /// Appends `bytes` in this form.
    pub(crate) fn encode(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Utf8 => escape(bytes, out),
            Self::Hex => out.extend_from_slice(HEXLOWER.encode(bytes).as_bytes()),
            Self::Base64 => out.extend_from_slice(BASE64.encode(bytes).as_bytes()),
            Self::Raw => out.extend_from_slice(bytes),
        }
    }

    /// The bytes that `text` means.
    pub(crate) fn decode(self, text: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Utf8 => unescape(text),
            Self::Hex => HEXLOWER_PERMISSIVE
                .decode(text)
                .map_err(|error| format!("not hexadecimal: {error}")),
            Self::Base64 => BASE64
                .decode(text)
                .map_err(|error| format!("not base 64: {error}")),
            Self::Raw => Ok(text.to_vec()),
        }
    }
}

/// As people read it, on one line.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    escape(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// As people read it, on one line and no longer than about that.
pub(crate) fn shortened(bytes: &[u8], bytes_max: usize) -> String {
    match bytes.get(..bytes_max) {
        Some(start) if bytes.len() > bytes_max => {
            format!("{}.. ({} bytes)", readable(start), bytes.len())
        }
        _ => readable(bytes),
    }
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'\\'
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().copied().all(is_plain) {
        out.extend_from_slice(bytes);
        return;
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                _ if character.is_control() => {
                    let mut bytes = [0; 4];
                    hexadecimal(character.encode_utf8(&mut bytes).as_bytes(), &mut text);
                }
                _ => text.push(character),
            }
        }
        hexadecimal(chunk.invalid(), &mut text);
    }
    out.extend_from_slice(text.as_bytes());
}

fn hexadecimal(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.contains(&b'\\') {
        return Ok(text.to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let Some((kind, after)) = rest.split_first() else {
            return Err("a backslash at the end: write \\\\ for one".to_owned());
        };
        rest = after;
        bytes.push(match kind {
            b'\\' => b'\\',
            b't' => b'\t',
            b'n' => b'\n',
            b'r' => b'\r',
            b'x' => {
                let digits = rest.get(..2).and_then(|digits| str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = byte.ok_or("two hexadecimal digits follow \\x")?;
                rest = rest.get(2..).unwrap_or_default();
                byte
            }
            other => {
                let other = char::from(*other);
                return Err(format!("\\{other} means nothing: write \\\\ for a backslash, or take --keys raw, --values raw"));
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_given_back() {
        let mut everything: Vec<u8> = (0..=255).collect();
        everything.extend_from_slice("é\u{85}\\x\u{1F600}".as_bytes());
        for encoding in Encoding::value_variants() {
            for bytes in [&b""[..], b"plain", b"\\", b"a\tb\nc", &everything] {
                let mut text = Vec::new();
                encoding.encode(bytes, &mut text);
                assert_eq!(encoding.decode(&text).as_deref(), Ok(bytes), "{encoding:?}");
            }
        }
    }

    #[test]
    fn text_is_one_line_without_control_characters() {
        let mut text = Vec::new();
        Encoding::Utf8.encode(b"a\x1b[31m\n\xff\x7f", &mut text);
        assert_eq!(text, b"a\\x1b[31m\\n\\xff\\x7f");
    }

    #[test]
    fn escapes_that_mean_nothing_are_refused() {
        for wrong in [&b"\\"[..], b"\\q", b"\\x1", b"\\xg0", b"\\x\xff\xff"] {
            assert!(Encoding::Utf8.decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
