//! `trine`: a Trine KV database at the terminal and in scripts.
//!
//! - It uses the library as any program would; what it needs of files beyond that is `trine_kv::inspect`.
//! - What was asked for goes to standard output, everything else to standard error.
//! - Each way to end has an exit code of its own: `failure.rs`, `docs/cli.md`.
#![expect(
    clippy::disallowed_methods,
    reason = "a program outside the engine: it reads files, clocks and the terminal as it likes"
)]

mod arguments;
mod backup;
mod bench;
mod buckets;
mod dump;
mod explain;
mod failure;
mod generated;
mod interrupt;
mod opening;
mod operators;
mod output;
mod point;
mod progress;
mod rows;
mod salvage;
mod scan;
mod shell;
mod stat;
mod text;
mod top;
mod transfer;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command, Explain};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json, arguments.quiet);
    let done = interrupt::prepare()
        .and_then(|()| run(&arguments.command, &mut output))
        .and_then(|()| output.finish());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: &Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Get(asked) => point::get(asked, output),
        Command::Put(asked) => point::put(asked, output),
        Command::Merge(asked) => point::merge(asked, output),
        Command::Delete(asked) => point::delete(asked, output),
        Command::Scan(asked) => scan::scan(asked, output),
        Command::Prefix(asked) => scan::prefix(asked, output),
        Command::Count(asked) => scan::count(asked, output),
        Command::Buckets(asked) => buckets::list(asked, output),
        Command::Stat(asked) => stat::show(asked, output),
        Command::Top(asked) => top::run(asked, output),
        Command::Explain(Explain::Get(asked)) => explain::get(asked, output),
        Command::Compact(asked) => upkeep::compact(asked, output),
        Command::Flush(asked) => upkeep::flush(asked, output),
        Command::Verify(asked) => upkeep::verify(asked, output),
        Command::Checkpoint(asked) => upkeep::checkpoint(asked, output),
        Command::Dump(asked) => dump::dump(asked, output),
        Command::Salvage(asked) => salvage::salvage(asked, output),
        Command::Shell(asked) => shell::run(asked, output),
        Command::Backup(asked) => backup::run(asked, output),
        Command::Restore(asked) => backup::restore(asked, output),
        Command::Bench(asked) => bench::run(asked, output),
        Command::Export(asked) => transfer::export(asked, output),
        Command::Import(asked) => transfer::import(asked, output),
        Command::Completions(asked) => generated::completions(asked, output),
        Command::Man => generated::manual(output),
    }
}
