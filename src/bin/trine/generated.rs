//! What derives from the arguments: completions and the manual page.

use std::io::Write;

use clap::CommandFactory;

use crate::arguments::{Arguments, Completions};
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn completions(asked: &Completions, output: &mut Output) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut command, "trine", &mut script);
    output.bytes().write_all(&script)?;
    Ok(())
}

/// One page, each command a section of it.
pub(crate) fn manual(output: &mut Output) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone());
    manual.render(&mut page)?;
    for command in command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        writeln!(page, ".SH \"trine {}\"", command.get_name())?;
        let manual = clap_mangen::Man::new(command.clone());
        manual.render_description_section(&mut page)?;
        manual.render_synopsis_section(&mut page)?;
        manual.render_options_section(&mut page)?;
    }
    output.bytes().write_all(&page)?;
    Ok(())
}
