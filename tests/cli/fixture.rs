//! The program, run in a directory of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A directory for databases and files.
pub(crate) struct Home(TempDir);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Runs `trine` with these arguments, separated by spaces, in the directory.
    pub(crate) fn trine(&self, arguments: &str) -> Run {
        self.run(&arguments.split(' ').collect::<Vec<_>>(), b"")
    }

    /// Starts `trine` with pipes.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_trine"))
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self.spawn(arguments);
        // Who does not read it may be gone by now.
        drop(child.stdin.take().expect("a pipe").write_all(input));
        Run::of(child.wait_with_output().expect("it ends"))
    }

    /// A database `db` with these rows in its default bucket.
    pub(crate) fn with_rows(rows: &str) -> Self {
        let home = Self::new();
        home.run(
            &["import", "db", "-", "--format", "tsv", "--create"],
            rows.as_bytes(),
        )
        .succeeded();
        home
    }
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed, if all went well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        String::from_utf8(self.out).expect("text")
    }

    /// What it said, if it ended with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.err);
        assert!(self.err.starts_with("trine: ") || code == 2, "{}", self.err);
        self.err
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.succeeded()).expect("JSON")
    }
}
