//! This engine and its peers at the same work, each engine and workload in a process of its own.
//!
//! `run` measures and adds a line for each run to a table of results; `render` makes a Markdown table and
//! plots of it. `ci/peers.sh` does both.

mod data;
mod engine;
mod engines;
mod measure;
mod plot;
mod report;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use engine::Result;
use report::Measured;
use work::{Outcome, Run, Source, Work};

const USAGE: &str = "usage:
  run [--keys N]... [--engines a,b] [--work x,y] [--seconds N] [--dir DIR] [--results FILE] [--keep]
  render [--results FILE] [--out DIR]";

type Runner = fn(&Run) -> Result<Outcome>;

/// Ours first: the others are compared with it.
const ENGINES: &[(&str, Runner)] = &[
    ("trine", Run::on::<engines::trine::Trine>),
    #[cfg(feature = "rocksdb")]
    ("rocksdb", Run::on::<engines::rocksdb::Rocks>),
    ("lmdb", Run::on::<engines::lmdb::Lmdb>),
    ("fjall", Run::on::<engines::fjall::Fjall>),
    ("redb", Run::on::<engines::redb::Redb>),
    ("sled", Run::on::<engines::sled::Sled>),
    ("sqlite", Run::on::<engines::sqlite::Sqlite>),
];

struct Options {
    keys: Vec<u64>,
    engines: Vec<String>,
    work: Vec<String>,
    seconds: u64,
    directory: PathBuf,
    results: PathBuf,
    out: PathBuf,
    keep: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            keys: Vec::new(),
            engines: ENGINES.iter().map(|(name, _)| (*name).to_owned()).collect(),
            work: work::ALL
                .iter()
                .map(|(_, name, ..)| (*name).to_owned())
                .collect(),
            seconds: 10,
            directory: std::env::temp_dir().join("trine-kv-peers"),
            results: PathBuf::from("docs/benchmarks/peers.tsv"),
            out: PathBuf::from("docs/benchmarks"),
            keep: false,
        };
        while let Some(word) = words.next() {
            if word == "--keep" {
                options.keep = true;
                continue;
            }
            let value = words.next().ok_or(USAGE)?;
            let list = || value.split(',').map(str::to_owned).collect();
            match word.as_str() {
                "--keys" => options.keys.push(value.replace('_', "").parse()?),
                "--engines" => options.engines = list(),
                "--work" => options.work = list(),
                "--seconds" => options.seconds = value.parse()?,
                "--dir" => options.directory = value.into(),
                "--results" => options.results = value.into(),
                "--out" => options.out = value.into(),
                _ => return Err(USAGE.into()),
            }
        }
        if options.keys.is_empty() {
            options.keys.push(1_000_000);
        }
        let known = |name: &String| ENGINES.iter().any(|(engine, _)| engine == name);
        if let Some(unknown) = options.engines.iter().find(|name| !known(name)) {
            return Err(format!("no engine {unknown}").into());
        }
        let known = |name: &String| work::ALL.iter().any(|(_, work, ..)| work == name);
        if let Some(unknown) = options.work.iter().find(|name| !known(name)) {
            return Err(format!("no work {unknown}").into());
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let done = match words.next().as_deref() {
        Some("run") => Options::parse(words).and_then(|options| run(&options)),
        Some("render") => {
            Options::parse(words).and_then(|options| report::render(&options.results, &options.out))
        }
        Some("--child") => child(words),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut failures = 0;
    for &keys in &options.keys {
        for engine in &options.engines {
            let home = options.directory.join(format!("{engine}-{keys}"));
            for (work, name, _, source) in work::ALL {
                if !options.work.iter().any(|wanted| wanted == name) {
                    continue;
                }
                let place = Place {
                    options,
                    home: &home,
                    engine,
                    keys,
                };
                match place.measure(work, name, source) {
                    Ok(measured) => measured.append(&options.results)?,
                    Err(error) => {
                        failures += 1;
                        eprintln!("{engine} {name} {keys}: {error}");
                    }
                }
            }
            if !options.keep {
                remove(&home)?;
            }
        }
    }
    if failures > 0 {
        Err(format!("{failures} runs failed").into())
    } else {
        Ok(())
    }
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// One engine's databases of one size.
struct Place<'run> {
    options: &'run Options,
    home: &'run Path,
    engine: &'run str,
    keys: u64,
}

impl Place<'_> {
    fn measure(&self, work: Work, name: &str, source: Source) -> Result<Measured> {
        let (directory, passing) = match source {
            Source::Empty => {
                let kept = match work {
                    Work::FillRandomBatch => "rows",
                    Work::FillLarge => "large",
                    _ => name,
                };
                let directory = self.home.join(kept);
                remove(&directory)?;
                fs::create_dir_all(&directory)?;
                (
                    directory,
                    !matches!(work, Work::FillRandomBatch | Work::FillLarge),
                )
            }
            Source::Rows => (self.loaded("rows", "fillbatch")?, false),
            Source::Large => (self.loaded("large", "filllarge")?, false),
            Source::RowsCopy => (self.copied("rows", "fillbatch")?, true),
            Source::LargeCopy => (self.copied("large", "filllarge")?, true),
        };
        if work.cold() {
            forget_pages(&directory)?;
        }
        if work == Work::OpenKilled {
            // It ends by its own hand, so its exit tells nothing.
            let _killed = self.child("openkilled", &directory)?;
        }
        let name = if work == Work::OpenKilled {
            "killed"
        } else {
            name
        };
        let output = self.child(name, &directory)?;
        let result = String::from_utf8(output.stdout)?;
        let measured = if output.status.success() {
            Measured::parse(result.trim_end_matches('\n'))
        } else {
            Err(format!("exit {}", output.status).into())
        };
        if passing {
            remove(&directory)?;
        }
        measured
    }

    fn child(&self, name: &str, directory: &Path) -> Result<std::process::Output> {
        Ok(Command::new(std::env::current_exe()?)
            .args(["--child", self.engine, name, &self.keys.to_string()])
            .arg(directory)
            .arg(self.options.seconds.to_string())
            .stderr(Stdio::inherit())
            .output()?)
    }

    /// The directory with what `work` leaves, which runs now if it has not yet.
    fn loaded(&self, kept: &str, work: &str) -> Result<PathBuf> {
        let directory = self.home.join(kept);
        if !directory.exists() {
            fs::create_dir_all(&directory)?;
            let output = self.child(work, &directory)?;
            if !output.status.success() {
                remove(&directory)?;
                return Err(format!("{work}: exit {}", output.status).into());
            }
        }
        Ok(directory)
    }

    fn copied(&self, kept: &str, work: &str) -> Result<PathBuf> {
        let from = self.loaded(kept, work)?;
        let to = self.home.join("copy");
        remove(&to)?;
        copy(&from, &to)?;
        Ok(to)
    }
}

/// Copies and syncs, so that no write-back of the copy runs into the measurement.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // `cp` keeps the holes of maps.
            let copied = Command::new("cp")
                .arg("--sparse=always")
                .arg(entry.path())
                .arg(&target)
                .status()?;
            if !copied.success() {
                return Err(format!("cp: {copied}").into());
            }
            fs::File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

/// Drops the files of a directory from the page cache.
fn forget_pages(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget_pages(&entry.path())?;
        } else {
            let file = fs::File::open(entry.path())?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn child(words: impl Iterator<Item = String>) -> Result<()> {
    let words: Vec<_> = words.collect();
    let [engine, name, keys, directory, seconds] = words.as_slice() else {
        return Err(USAGE.into());
    };
    let was_killed = name == "killed";
    let name = if was_killed { "openkilled" } else { name };
    let (_, runner) = ENGINES
        .iter()
        .find(|(known, _)| known == engine)
        .ok_or("no such engine")?;
    let (work, ..) = *work::ALL
        .iter()
        .find(|(_, known, ..)| *known == name)
        .ok_or("no such work")?;
    let directory = PathBuf::from(directory);
    let run = Run {
        work,
        rows: keys.parse()?,
        directory,
        limit: Duration::from_secs(seconds.parse()?),
        was_killed,
    };
    let before = measure::Usage::now()?;
    let (outcome, own_bytes) = measure::watching_memory(|| runner(&run))?;
    let after = measure::Usage::now()?;
    let measured = Measured {
        keys: run.rows,
        engine: engine.clone(),
        work: name.to_owned(),
        operations: outcome.timing.operations,
        seconds: outcome.timing.elapsed.as_secs_f64(),
        p50: outcome.timing.histogram.value_at_quantile(0.5),
        p99: outcome.timing.histogram.value_at_quantile(0.99),
        p999: outcome.timing.histogram.value_at_quantile(0.999),
        max: outcome.timing.histogram.max(),
        cpu_seconds: outcome.timing.cpu_seconds,
        resident_bytes: measure::peak_resident_bytes()?,
        own_bytes,
        disk_bytes: measure::occupied_bytes(&run.directory)?,
        written_bytes: after.written - before.written,
        note: outcome.note,
    };
    println!("{}", measured.line());
    Ok(())
}
