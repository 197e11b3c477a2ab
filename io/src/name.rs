//! What may name a file: one plain component, on every host.

use std::io::{self, ErrorKind};

/// Fails with `InvalidInput` for a name that could lead out of the directory, or mean something else on
/// another host: a path, a drive, an alternate stream, a terminator.
pub(crate) fn check(name: &str) -> io::Result<()> {
    let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ':', '\0']);
    if plain {
        Ok(())
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidInput,
            "not a plain file name",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for name in ["LOCK", "table-000001.trinet", ".hidden", "a..b", "ä b"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn anything_that_is_a_path_is_refused() {
        for name in [
            "", ".", "..", "a/b", "/a", "a/", "../a", "a\\b", "C:a", "a\0",
        ] {
            let error = check(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
