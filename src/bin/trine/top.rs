//! What a database consists of, again and again, beside the process that writes it.
//!
//! It asks nobody: a reader looks at the directory, takes no lock and changes nothing. So it shows what the files say. What only
//! the writing process knows, as stalls and latencies, that process tells through `Db::stats` or the feature `metrics`.

use std::io::IsTerminal;
use std::thread::sleep;
use std::time::{Duration, Instant};

use trine_kv::{Db, Error};

use crate::arguments::Top;
use crate::failure::Failure;
use crate::interrupt::{self, Awaited};
use crate::opening;
use crate::output::{self, Output};
use crate::stat;

/// How long the interrupt key may have to wait.
const NAP: Duration = Duration::from_millis(50);

pub(crate) fn run(asked: &Top, output: &mut Output) -> Result<(), Failure> {
    let _awaited = Awaited::begin();
    let terminal = console::Term::stdout();
    let repaints = !asked.once && !output.json && std::io::stdout().is_terminal();
    let mut db = opening::for_watching(&asked.place)?;
    let mut before: Option<Look> = None;
    loop {
        let look = Look::at(&db);
        let rates = before.as_ref().map(|before| Rates::between(before, &look));
        if repaints {
            terminal.clear_screen()?;
        }
        tell(asked, &db, rates.as_ref(), output)?;
        output.finish()?;
        if asked.once {
            return Ok(());
        }
        before = Some(look);
        if !rest(Duration::from_secs_f64(asked.interval)) {
            return Ok(());
        }
        match db.refresh_sync() {
            Ok(newer) => db = newer,
            // The writer changes files faster than they can be looked at: next time.
            Err(Error::RuntimeBusy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// False once somebody wants it to end.
fn rest(time: Duration) -> bool {
    let begun = Instant::now();
    while !interrupt::requested() {
        match time.checked_sub(begun.elapsed()) {
            None | Some(Duration::ZERO) => return true,
            Some(left) => sleep(left.min(NAP)),
        }
    }
    false
}

/// What changes.
struct Look {
    at: Instant,
    sequence: u64,
    bytes: u64,
}

impl Look {
    fn at(db: &Db) -> Self {
        let stats = db.stats();
        Self {
            at: Instant::now(),
            sequence: db.last_committed_sequence().get(),
            bytes: stat::bytes(&stats),
        }
    }
}

/// How fast it did since the look before.
struct Rates {
    commits: f64,
    bytes: f64,
}

impl Rates {
    #[expect(clippy::cast_precision_loss, reason = "rates are read, not added up")]
    fn between(before: &Look, now: &Look) -> Self {
        let seconds = (now.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            commits: now.sequence.saturating_sub(before.sequence) as f64 / seconds,
            bytes: (now.bytes as f64 - before.bytes as f64) / seconds,
        }
    }
}

fn tell(asked: &Top, db: &Db, rates: Option<&Rates>, output: &mut Output) -> Result<(), Failure> {
    let mut report = stat::report(&asked.place, db);
    report["commits_per_second"] = rates.map(|rates| rates.commits).into();
    report["bytes_per_second"] = rates.map(|rates| rates.bytes).into();
    if output.json && !asked.once {
        // A line for each look.
        return output.line(report);
    }
    output.report(&report, |output| {
        let writer = match opening::writer(&asked.place.directory) {
            Some(writer) => format!("{writer} writes"),
            None => "nobody writes".to_owned(),
        };
        output.line(format_args!(
            "{}: {writer}",
            asked.place.directory.display()
        ))?;
        let rates = rates.map_or_else(String::new, Rates::text);
        output.line(format_args!(
            "{}{rates}\n",
            output::bytes(stat::bytes(&db.stats()))
        ))?;
        stat::tell(db, output)
    })
}

impl Rates {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is read is rounded, and its sign stands before it"
    )]
    fn text(&self) -> String {
        let sign = if self.bytes < 0.0 { '-' } else { '+' };
        format!(
            ", {sign}{} a second, {} commits a second",
            output::bytes(self.bytes.abs() as u64),
            output::count(self.commits.round() as u64)
        )
    }
}
