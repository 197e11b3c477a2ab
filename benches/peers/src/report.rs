//! Results as lines of a table, and what people read of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::engine::Result;
use crate::{ENGINES, plot, work};

/// One run.
#[derive(Clone)]
pub struct Measured {
    pub keys: u64,
    pub engine: String,
    pub work: String,
    pub operations: u64,
    pub seconds: f64,
    /// Latencies in nanoseconds; zero where single operations were not timed.
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub own_bytes: u64,
    pub disk_bytes: u64,
    pub written_bytes: u64,
    pub note: String,
}

const HEADER: &str = "keys\tengine\twork\toperations\tseconds\tp50_ns\tp99_ns\tp999_ns\tmax_ns\t\
cpu_seconds\tresident_bytes\town_bytes\tdisk_bytes\twritten_bytes\tnote";

impl Measured {
    pub fn line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\t{:.6}\t{}\t{}\t{}\t{}\t{:.2}\t{}\t{}\t{}\t{}\t{}",
            self.keys,
            self.engine,
            self.work,
            self.operations,
            self.seconds,
            self.p50,
            self.p99,
            self.p999,
            self.max,
            self.cpu_seconds,
            self.resident_bytes,
            self.own_bytes,
            self.disk_bytes,
            self.written_bytes,
            self.note
        )
    }

    pub fn parse(line: &str) -> Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [
            keys,
            engine,
            work,
            operations,
            seconds,
            p50,
            p99,
            p999,
            max,
            cpu,
            resident,
            own,
            disk,
            written,
            note,
        ] = fields.as_slice()
        else {
            return Err(format!("not a result: {line:?}").into());
        };
        Ok(Self {
            keys: keys.parse()?,
            engine: (*engine).to_owned(),
            work: (*work).to_owned(),
            operations: operations.parse()?,
            seconds: seconds.parse()?,
            p50: p50.parse()?,
            p99: p99.parse()?,
            p999: p999.parse()?,
            max: max.parse()?,
            cpu_seconds: cpu.parse()?,
            resident_bytes: resident.parse()?,
            own_bytes: own.parse()?,
            disk_bytes: disk.parse()?,
            written_bytes: written.parse()?,
            note: (*note).to_owned(),
        })
    }

    pub fn append(&self, results: &Path) -> Result<()> {
        let new = !results.exists();
        if let Some(parent) = results.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(results)?;
        if new {
            writeln!(file, "{HEADER}")?;
        }
        writeln!(file, "{}", self.line())?;
        eprintln!(
            "{:>9} {:8} {:17} {}",
            self.keys,
            self.engine,
            self.work,
            self.speed()
        );
        Ok(())
    }

    /// Operations a second; how much more is better.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds.max(1e-9)
    }

    /// As people say it: a rate, or for a single event its time.
    fn speed(&self) -> String {
        if self.operations == 1 {
            format!("{:.1} ms", self.seconds * 1e3)
        } else {
            thousands(self.rate())
        }
    }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn duration(nanos: u64) -> String {
    match nanos {
        0 => String::new(),
        1..10_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        10_000..10_000_000 => format!("{:.0} µs", nanos as f64 / 1e3),
        _ => format!("{:.0} ms", nanos as f64 / 1e6),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

/// The newest result of each run, by number of keys.
pub struct Results(pub BTreeMap<u64, BTreeMap<(String, String), Measured>>);

impl Results {
    fn read(path: &Path) -> Result<Self> {
        let mut results = BTreeMap::<u64, BTreeMap<_, _>>::new();
        for line in fs::read_to_string(path)?.lines().skip(1) {
            let measured = Measured::parse(line)?;
            let name = (measured.work.clone(), measured.engine.clone());
            results
                .entry(measured.keys)
                .or_default()
                .insert(name, measured);
        }
        Ok(Self(results))
    }

    pub fn get(&self, keys: u64, work: &str, engine: &str) -> Option<&Measured> {
        self.0
            .get(&keys)?
            .get(&(work.to_owned(), engine.to_owned()))
    }
}

/// Writes the table and the plots of all results into `out`.
pub fn render(results: &Path, out: &Path) -> Result<()> {
    let results = Results::read(results)?;
    let mut text = String::from(HEAD);
    for &keys in results.0.keys() {
        let label = thousands(keys as f64);
        writeln!(
            text,
            "\n## {label} keys\n\n![Rates relative to this engine](peers-{keys}.svg)\n"
        )?;
        rates(&mut text, &results, keys)?;
        writeln!(
            text,
            "\n### Latencies: median, 99.9th percentile, longest\n"
        )?;
        cells(&mut text, &results, keys, |measured| {
            (measured.max > 0).then(|| {
                [measured.p50, measured.p999, measured.max]
                    .map(duration)
                    .join(" / ")
            })
        })?;
        writeln!(
            text,
            "\n### Memory and disk: own memory at its peak / resident with mapped files / on disk / written, MiB; \
             processor seconds\n"
        )?;
        cells(&mut text, &results, keys, |measured| {
            let sizes = [
                measured.own_bytes,
                measured.resident_bytes,
                measured.disk_bytes,
                measured.written_bytes,
            ];
            Some(format!(
                "{}; {:.1}",
                sizes.map(mebibytes).join(" / "),
                measured.cpu_seconds
            ))
        })?;
        fs::write(
            out.join(format!("peers-{keys}.svg")),
            plot::rates(&results, keys),
        )?;
    }
    if results.0.len() > 1 {
        fs::write(
            out.join("peers-growth.svg"),
            plot::growth(&results, "readlent"),
        )?;
        text.push_str(
            "\n## Growth\n\n![Time of a warm point read by number of keys](peers-growth.svg)\n",
        );
    }
    fs::write(out.join("peers.md"), text)?;
    Ok(())
}

const HEAD: &str = "# Beside the peers

Written by `ci/peers.sh`, which repeats it. 16-byte keys, 100-byte values that compress to a half, one thread where
nothing else is said. Each engine and workload ran in a process of its own; every value read was checked. Options:
`benches/peers/src/engines/`, one file for each engine. A workload that takes longer than its limit stops there.
Rates are operations a second, times are of one opening; the last column is this engine's rate over the best peer's.
";

fn rates(text: &mut String, results: &Results, keys: u64) -> Result<()> {
    header(text, "| best peer | ratio |", "--:|--:|")?;
    for (_, work, description, _) in work::ALL {
        let row: Vec<_> = ENGINES
            .iter()
            .map(|(name, _)| results.get(keys, work, name))
            .collect();
        if row.iter().all(Option::is_none) {
            continue;
        }
        let best = row[1..]
            .iter()
            .flatten()
            .max_by(|a, b| a.rate().total_cmp(&b.rate()));
        write!(text, "| {description} |")?;
        for measured in &row {
            let speed = measured
                .map(|measured| measured.speed())
                .unwrap_or_default();
            let note = measured.map_or("", |measured| measured.note.as_str());
            let note = if note.is_empty() {
                String::new()
            } else {
                format!(" ({note})")
            };
            write!(text, " {speed}{note} |")?;
        }
        match (row[0], best) {
            (Some(ours), Some(best)) => {
                writeln!(
                    text,
                    " {} | {:.2} |",
                    best.engine,
                    ours.rate() / best.rate()
                )?;
            }
            _ => writeln!(text, " | |")?,
        }
    }
    Ok(())
}

fn cells(
    text: &mut String,
    results: &Results,
    keys: u64,
    cell: impl Fn(&Measured) -> Option<String>,
) -> Result<()> {
    header(text, "|", "")?;
    for (_, work, description, _) in work::ALL {
        let row: Vec<_> = ENGINES
            .iter()
            .map(|(name, _)| {
                results
                    .get(keys, work, name)
                    .and_then(&cell)
                    .unwrap_or_default()
            })
            .collect();
        if row.iter().any(|cell| !cell.is_empty()) {
            writeln!(text, "| {description} | {} |", row.join(" | "))?;
        }
    }
    Ok(())
}

fn header(text: &mut String, end: &str, rule_end: &str) -> Result<()> {
    let names: Vec<_> = ENGINES.iter().map(|(name, _)| *name).collect();
    writeln!(text, "| work | {} {end}", names.join(" | "))?;
    writeln!(text, "|---|{}{rule_end}", "--:|".repeat(ENGINES.len()))?;
    Ok(())
}
