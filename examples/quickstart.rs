//! A tour of the asynchronous interface on real data, with nothing but the standard library.
//!
//! ```text
//! cargo run --release --example quickstart                    the crate's own sources, line by line
//! cargo run --release --example quickstart -- words.tsv       any text or TSV file
//! cargo run --release --example quickstart -- big.txt --dir /var/tmp/big --keep
//! ```
//!
//! A line with a tab is keyed by its first column, any other by its number. Bytes are bytes: nothing
//! needs to be UTF-8. A key that comes twice keeps its last line.
#![expect(
    clippy::disallowed_methods,
    reason = "an example is a program outside the engine: it reads files and the clock as it likes"
)]

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use trine_kv::{Db, DbOptions, DurabilityMode, Sequence, WriteBatch, WriteOptions};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: quickstart [FILE] [--dir PATH] [--keep]";
const BATCH_ROWS: usize = 1000;
const SAMPLES: usize = 10_000;

fn main() -> ExitCode {
    let outcome = Arguments::parse().and_then(|arguments| block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `quickstart | head -3`: the reader has seen enough, and that is no failure.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let mut out = io::stdout().lock();
    // Fails on a missing file before anything is created.
    let source = Source::open(arguments.file.as_deref())?;
    let home = Home::create(arguments)?;
    let options = || DbOptions::new(&home.path).with_durability(DurabilityMode::Buffered);
    let db = Db::open(options()).await?;

    // Load: batches are atomic, and one commit for a thousand rows is far cheaper than a thousand.
    let started = Instant::now();
    let loaded = load(&db, source).await?;
    db.persist(DurabilityMode::SyncAll).await?;
    let took = started.elapsed();
    writeln!(
        out,
        "loaded {} rows, {} bytes, {}",
        loaded.rows,
        loaded.bytes,
        rate(loaded.rows, took)
    )?;

    // Point reads.
    let started = Instant::now();
    let mut found = 0;
    for key in &loaded.sample {
        found += usize::from(db.get(key).await?.is_some());
    }
    let took = started.elapsed();
    writeln!(
        out,
        "read {found} of {} random keys, {}",
        loaded.sample.len(),
        rate(found, took)
    )?;

    // A scan is fixed at the moment of its creation; rows come in key order.
    let started = Instant::now();
    let mut rows = db.prefix(Vec::new()).await?;
    let mut count = 0;
    while let Some(row) = rows.next().await? {
        count += usize::from(!row.key.is_empty() || !row.value.is_empty());
    }
    writeln!(
        out,
        "scanned {count} rows, {}",
        rate(count, started.elapsed())
    )?;

    // A prefix scan from some row in the middle.
    if let Some(key) = loaded.sample.get(loaded.sample.len() / 2) {
        let prefix = &key[..key.len().div_ceil(2)];
        writeln!(out, "the first rows under {}:", shown(prefix))?;
        let mut rows = db.prefix(prefix).await?;
        for _ in 0..3 {
            let Some(row) = rows.next().await? else { break };
            writeln!(out, "  {}  {}", shown(&row.key), shown(&row.value))?;
        }
    }

    // A snapshot stays as it was while the database moves on. Versions live in buckets of their own,
    // so the loaded rows stay untouched.
    let notes = db.bucket("notes").await?;
    notes.put("greeting", "hello").await?;
    let before = db.snapshot();
    notes.put("greeting", "hello again").await?;
    let old = before.get(&notes, b"greeting").await?.unwrap_or_default();
    let new = notes.get(b"greeting").await?.unwrap_or_default();
    writeln!(
        out,
        "at the snapshot: {}; now: {}",
        shown(&old),
        shown(&new)
    )?;
    drop(before);

    // Close, reopen: everything is still there.
    let newest = db.last_committed_sequence();
    db.close().await?;
    let started = Instant::now();
    let db = Db::open(options()).await?;
    let took = started.elapsed();
    check_reopened(&db, newest, &loaded.sample).await?;
    writeln!(out, "reopened in {took:.1?} at commit {}", newest.get())?;
    db.close().await?;
    let bytes = size_on_disk(&home.path)?;
    writeln!(
        out,
        "the database lies in {} and takes {bytes} bytes",
        home.path.display()
    )?;
    if home.temporary {
        writeln!(out, "it is removed now; --keep keeps it")?;
    }
    Ok(())
}

struct Loaded {
    rows: usize,
    bytes: u64,
    /// Some keys, evenly picked from all, in random order.
    sample: Vec<Vec<u8>>,
}

async fn load(db: &Db, mut source: Source) -> Result<Loaded> {
    let mut loaded = Loaded {
        rows: 0,
        bytes: 0,
        sample: Vec::new(),
    };
    let mut progress = Progress::new(source.bytes);
    let mut random = Random(0x7472_696e_652d_6b76);
    let mut batch = WriteBatch::new();
    while let Some((key, value)) = source.next_row()? {
        loaded.rows += 1;
        loaded.bytes += u64::try_from(key.len() + value.len())?;
        // Reservoir sampling (Vitter, ACM TOMS 1985): memory stays bounded however long the file is.
        if loaded.sample.len() < SAMPLES {
            loaded.sample.push(key.clone());
        } else {
            let slot = random.below(loaded.rows);
            if slot < SAMPLES {
                loaded.sample[slot].clone_from(&key);
            }
        }
        batch.put(key, value);
        if batch.len() == BATCH_ROWS {
            db.write(std::mem::take(&mut batch), WriteOptions::buffered())
                .await?;
            progress.show(loaded.rows, source.read_bytes);
        }
    }
    db.write(batch, WriteOptions::buffered()).await?;
    progress.clear();
    for index in (1..loaded.sample.len()).rev() {
        loaded.sample.swap(index, random.below(index + 1));
    }
    Ok(loaded)
}

async fn check_reopened(db: &Db, newest: Sequence, sample: &[Vec<u8>]) -> Result<()> {
    if db.last_committed_sequence() != newest {
        return Err("the reopened database is at another commit".into());
    }
    for key in sample.iter().take(1000) {
        if db.get(key).await?.is_none() {
            return Err(format!("{} is gone after reopening", shown(key)).into());
        }
    }
    Ok(())
}

/// Rows from files, one file open at a time.
struct Source {
    /// Files still to read, with the name that starts their keys.
    files: Vec<(PathBuf, String)>,
    current: Option<(BufReader<File>, String)>,
    line: usize,
    bytes: u64,
    read_bytes: u64,
}

impl Source {
    /// One file, or without one the sources of this crate: real data that is always at hand.
    fn open(file: Option<&Path>) -> Result<Self> {
        let mut files = Vec::new();
        if let Some(file) = file {
            files.push((file.to_path_buf(), String::new()));
        } else {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            for directory in ["src", "io", "platform", "tests", "examples"] {
                collect_sources(root, &root.join(directory), &mut files)?;
            }
            files.sort();
            files.reverse();
        }
        let mut bytes = 0;
        for (path, _) in &files {
            let about = |error| format!("{}: {error}", path.display());
            let metadata = File::open(path)
                .and_then(|file| file.metadata())
                .map_err(about)?;
            if metadata.is_dir() {
                return Err(format!("{} is a directory", path.display()).into());
            }
            bytes += metadata.len();
        }
        Ok(Self {
            files,
            current: None,
            line: 0,
            bytes,
            read_bytes: 0,
        })
    }

    fn next_row(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        loop {
            if self.current.is_none() {
                let Some((path, name)) = self.files.pop() else {
                    return Ok(None);
                };
                self.current = Some((BufReader::new(File::open(path)?), name));
                self.line = 0;
            }
            let Some((reader, name)) = &mut self.current else {
                return Ok(None);
            };
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                self.current = None;
                continue;
            }
            self.line += 1;
            self.read_bytes += u64::try_from(read)?;
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let key = match line.iter().position(|byte| *byte == b'\t') {
                _ if !name.is_empty() => format!("{name}:{:05}", self.line).into_bytes(),
                Some(tab) => line[..tab].to_vec(),
                None => format!("{:010}", self.line).into_bytes(),
            };
            return Ok(Some((key, line)));
        }
    }
}

fn collect_sources(root: &Path, from: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect_sources(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.push((path, name));
        }
    }
    Ok(())
}

/// One line on a terminal, nothing elsewhere.
struct Progress {
    total_bytes: u64,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(total_bytes: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            total_bytes,
            started: Instant::now(),
            shown: None,
            terminal,
        }
    }

    fn show(&mut self, rows: usize, bytes: u64) {
        let recently = |shown: Instant| shown.elapsed() < Duration::from_millis(100);
        if !self.terminal || self.shown.is_some_and(recently) {
            return;
        }
        self.shown = Some(Instant::now());
        let took = self.started.elapsed();
        let percent = bytes * 100 / self.total_bytes.max(1);
        let left = took.as_millis() * u128::from(self.total_bytes.saturating_sub(bytes))
            / u128::from(bytes.max(1));
        eprint!(
            "\r\x1b[Kloading: {percent} %, {rows} rows, {}, {} s left",
            rate(rows, took),
            left / 1000
        );
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// The directory of the database; a temporary one goes with the program.
struct Home {
    path: PathBuf,
    temporary: bool,
}

impl Home {
    fn create(arguments: &Arguments) -> Result<Self> {
        if let Some(path) = &arguments.directory {
            return Ok(Self {
                path: path.clone(),
                temporary: false,
            });
        }
        let path = std::env::temp_dir().join(format!("trine-quickstart-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path,
            temporary: !arguments.keep,
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!(
                "quickstart: {} is left behind: {error}",
                self.path.display()
            );
        }
    }
}

struct Arguments {
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
    keep: bool,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self {
            file: None,
            directory: None,
            keep: false,
        };
        let mut words = std::env::args_os().skip(1);
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--keep") => parsed.keep = true,
                Some("--dir") => {
                    parsed.directory = Some(words.next().ok_or("--dir needs a path")?.into());
                }
                Some(flag) if flag.starts_with('-') => return Err(USAGE.into()),
                _ if parsed.file.is_some() => return Err(USAGE.into()),
                _ => parsed.file = Some(word.into()),
            }
        }
        Ok(parsed)
    }
}

fn size_on_disk(directory: &Path) -> io::Result<u64> {
    std::fs::read_dir(directory)?
        .map(|entry| entry?.metadata().map(|metadata| metadata.len()))
        .sum()
}

fn rate(count: usize, took: Duration) -> String {
    let per_second = count as u128 * 1_000_000_000 / took.as_nanos().max(1);
    format!("{per_second} a second")
}

/// Bytes for people, not more than fit on a line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push_str("...");
    }
    short
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Xorshift (Marsaglia, 2003), enough to pick keys.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap_or(0)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A whole executor: the futures of this crate run on any, also on this one.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
