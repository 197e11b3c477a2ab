//! What can be said on the command line. The comments here are the help that users read.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::operators::Operator;
use crate::rows::Format;
use crate::text::Encoding;

/// Reads, changes, checks and moves Trine KV databases.
///
/// A database is a directory. Commands that only read open it read-only, beside a running writer too, and show it as
/// of that moment.
#[derive(Debug, Parser)]
#[command(name = "trine", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Report in JSON: an object, or one for each row.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but what was asked for: no notes, no progress.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 not found; 2 wrong arguments or not a database; 3 failed; 4 damage found;
5 another process has the database open for writing; 6 rows that cannot be read; 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key.
    Get(Get),
    /// Set the value of a key.
    Put(Put),
    /// Merge an operand into the value of a key.
    Merge(Merge),
    /// Delete a key, or all keys of a range.
    Delete(Delete),
    /// Print the rows of a range.
    Scan(Scan),
    /// Print the rows whose keys start with a prefix.
    Prefix(Prefix),
    /// Count the rows of a range.
    Count(Count),
    /// List the buckets and what they hold.
    Buckets(Place),
    /// Tell what the database consists of.
    Stat(Place),
    /// Show what the database consists of, again and again, beside the process that writes it.
    Top(Top),
    /// Tell what a read touches: memtables, filters, tables, blocks, blob files.
    #[command(subcommand)]
    Explain(Explain),
    /// Merge tables, so that what was deleted or overwritten takes no space.
    Compact(Compact),
    /// Write what lies in the log only into tables.
    Flush(Place),
    /// Read everything and check it.
    Verify(Place),
    /// Make a copy that opens as a database of its own, sharing files where the file system can.
    Checkpoint(Checkpoint),
    /// Take a table, blob file, log segment or manifest apart.
    Dump(Dump),
    /// Save every intact record of a damaged database into a new one.
    Salvage(Salvage),
    /// Read commands line by line.
    Shell(Shell),
    /// Make backups, which share the files that they have in common; list, check, restore and prune them.
    #[command(subcommand)]
    Backup(Backup),
    /// Make a database of a backup.
    Restore(Restore),
    /// Run well-known workloads on a directory that is thrown away.
    Bench(Bench),
    /// Write rows to a file.
    Export(Export),
    /// Read rows from a file.
    Import(Import),
    /// Print completions for a shell.
    Completions(Completions),
    /// Print the manual page.
    Man,
}

/// Where the database lies.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The directory of the database.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
    /// What a merge operator does that buckets name, as NAME=KIND: append, add (numbers in digits), add-le (of 64 bits), max or min.
    /// What `--create` creates merges with it.
    #[arg(long = "operator", value_name = "NAME=KIND")]
    pub(crate) operators: Vec<Operator>,
}

/// Which rows are meant and how they are written.
#[derive(Debug, Args)]
pub(crate) struct Form {
    /// The bucket; without it the default one.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// How keys are written.
    #[arg(short, long, value_name = "FORM", default_value = "utf8")]
    pub(crate) keys: Encoding,
    /// How values are written.
    #[arg(short = 'v', long, value_name = "FORM", default_value = "utf8")]
    pub(crate) values: Encoding,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The key.
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// The read of one key.
    Get(Get),
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The key.
    pub(crate) key: String,
    /// The value; without it, or as `-`, the bytes of standard input as they are.
    pub(crate) value: Option<String>,
    /// For how long the key has the value, as `90s`, `1h 30m` or `7days`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Create the database, or the bucket, if there is none.
    #[arg(long)]
    pub(crate) create: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Merge {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The key.
    pub(crate) key: String,
    /// The operand, written as values are; without it, or as `-`, the bytes of standard input as they are.
    pub(crate) operand: Option<String>,
    /// Create the database, or the bucket, if there is none; then `--operator` says how it merges.
    #[arg(long, requires = "operators")]
    pub(crate) create: bool,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Look once only.
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds from one look to the next.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub(crate) interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| "seconds, from 0.1 to 86400".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The key.
    #[arg(required_unless_present_any = ["from", "to", "prefix"], conflicts_with_all = ["from", "to", "prefix"])]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) range: Range,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// A range of keys; all of them if nothing is said.
#[derive(Debug, Args)]
pub(crate) struct Range {
    /// The first key.
    #[arg(long, value_name = "KEY")]
    pub(crate) from: Option<String>,
    /// The key to stop before.
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<String>,
    /// Only keys that start with this.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub(crate) prefix: Option<String>,
}

/// How rows are printed.
#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// At most so many rows.
    #[arg(short = 'n', long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
    /// From the last key to the first.
    #[arg(short, long)]
    pub(crate) reverse: bool,
    /// Keys without values.
    #[arg(long)]
    pub(crate) only_keys: bool,
    /// The form of the rows.
    #[arg(short, long, value_name = "FORMAT", default_value = "tsv")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) range: Range,
    #[command(flatten)]
    pub(crate) listing: Listing,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Prefix {
    #[command(flatten)]
    pub(crate) place: Place,
    /// What the keys start with.
    #[arg(value_name = "PREFIX")]
    pub(crate) start: String,
    #[command(flatten)]
    pub(crate) listing: Listing,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Count {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) range: Range,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Compact {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Only as much as is due, instead of everything.
    #[arg(long)]
    pub(crate) due: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The new directory: missing or empty.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(crate) target: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Add a backup.
    Create(BackupCreate),
    /// List the backups.
    List(BackupPlace),
    /// Read every file of a backup and check it.
    Verify(BackupVerify),
    /// Make a database of a backup.
    Restore(Restore),
    /// Remove all backups but the newest, and the files that only they needed.
    Prune(BackupPrune),
}

/// Where backups lie.
#[derive(Debug, Args)]
pub(crate) struct BackupPlace {
    /// The directory of the backups, or a URL in a store of objects.
    #[arg(value_name = "BACKUPS", value_hint = clap::ValueHint::DirPath)]
    pub(crate) backups: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BackupCreate {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The directory of the backups, created if it is missing, or a URL in a store of objects.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(crate) backups: PathBuf,
    /// Copy at most so many mebibytes a second.
    #[arg(long, value_name = "MIB")]
    pub(crate) limit_mib: Option<u64>,
    /// Read the files that earlier backups have already, and copy those anew that have changed.
    #[arg(long)]
    pub(crate) check_shared: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupVerify {
    #[command(flatten)]
    pub(crate) place: BackupPlace,
    /// The backup's number; without it the newest.
    #[arg(long)]
    pub(crate) id: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) place: BackupPlace,
    /// The directory of the new database: missing or empty.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(crate) target: PathBuf,
    /// The backup's number; without it the newest.
    #[arg(long)]
    pub(crate) id: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupPrune {
    #[command(flatten)]
    pub(crate) place: BackupPlace,
    /// How many stay.
    #[arg(long, value_name = "BACKUPS_KEPT")]
    pub(crate) keep: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The workloads, one after the other; without any, those of `db_bench`.
    #[arg(value_enum)]
    chosen: Vec<Workload>,
    /// How many rows.
    #[arg(short = 'n', long, default_value_t = 1_000_000)]
    pub(crate) rows: u64,
    /// How many random reads; without it as many as rows, but no more than a million.
    #[arg(long)]
    reads: Option<u64>,
    /// How long values are.
    #[arg(long, default_value_t = 100)]
    pub(crate) value_bytes: usize,
    /// Where the directory is made; without it where temporary files are.
    #[arg(long, value_hint = clap::ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,
    /// The same seed gives the same keys.
    #[arg(long, default_value_t = 301)]
    pub(crate) seed: u64,
}

impl Bench {
    /// What is to be run.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        if self.chosen.is_empty() {
            Workload::value_variants()
                .iter()
                .copied()
                .filter(|workload| *workload != Workload::Fillsync)
                .collect()
        } else {
            self.chosen.clone()
        }
    }

    /// How often.
    pub(crate) fn operations(&self, workload: Workload) -> u64 {
        match workload {
            Workload::Fillbatch => self.rows.div_ceil(1000),
            // Each waits for the disk.
            Workload::Fillsync => (self.rows / 1000).max(1),
            Workload::Readrandom | Workload::Readmissing | Workload::Seekrandom => {
                self.reads.unwrap_or(self.rows.min(1_000_000))
            }
            Workload::Compact => 1,
            _ => self.rows,
        }
    }
}

/// A workload, in the order in which they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Put all keys in ascending order
    Fillseq,
    /// Put all keys in ascending order, a thousand in each commit
    Fillbatch,
    /// Put random keys
    Fillrandom,
    /// Put random keys, each on the disk before the next
    Fillsync,
    /// Put random keys that are there already
    Overwrite,
    /// Get random keys
    Readrandom,
    /// Get keys that are not there
    Readmissing,
    /// Seek a random key and read ten rows
    Seekrandom,
    /// Read all rows in ascending order
    Readseq,
    /// Read all rows in descending order
    Readreverse,
    /// Delete random keys
    Deleterandom,
    /// Merge all tables
    Compact,
}

impl Workload {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fillseq => "fillseq",
            Self::Fillbatch => "fillbatch",
            Self::Fillrandom => "fillrandom",
            Self::Fillsync => "fillsync",
            Self::Overwrite => "overwrite",
            Self::Readrandom => "readrandom",
            Self::Readmissing => "readmissing",
            Self::Seekrandom => "seekrandom",
            Self::Readseq => "readseq",
            Self::Readreverse => "readreverse",
            Self::Deleterandom => "deleterandom",
            Self::Compact => "compact",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The file.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Also each entry of a block, each operation of a commit, each change of an edit.
    #[arg(short, long)]
    pub(crate) entries: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Salvage {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The directory of the new database: missing or empty.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(crate) target: PathBuf,
    /// The bucket for rows of which nothing tells where they belong; without it each table's go to one of their own.
    #[arg(long, value_name = "BUCKET")]
    pub(crate) unknown_into: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Shell {
    #[command(flatten)]
    pub(crate) place: Place,
}

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The file; `-` is standard output.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The form of the rows; without it what the file's name ends with: .tsv, .csv, .jsonl, .trows.
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// All buckets, each row with its bucket's name: JSON lines and the binary form only.
    #[arg(long, conflicts_with_all = ["bucket"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) range: Range,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The file; `-` is standard input.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The form of the rows; without it what the file's name ends with: .tsv, .csv, .jsonl, .trows.
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Create the database if there is none. Buckets are created in any case.
    #[arg(long)]
    pub(crate) create: bool,
    /// Commit batches of rows, slower than loading them at once: who follows the changes sees each row.
    #[arg(long)]
    pub(crate) in_batches: bool,
    /// CSV: the first line holds names, not a row.
    #[arg(long)]
    pub(crate) header: bool,
    /// CSV and TSV: the column of the key, from 1.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) key_column: u32,
    /// CSV and TSV: the column of the value.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) value_column: u32,
    #[command(flatten)]
    pub(crate) form: Form,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
