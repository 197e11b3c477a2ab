//! Commands line by line, on one open database.

use std::io::{self, BufRead, IsTerminal};

use clap::Parser;
use rustyline::error::ReadlineError;

use crate::arguments::{Command, Line, Shell};
use crate::failure::Failure;
use crate::opening;
use crate::output::Output;

pub(crate) fn run(asked: &Shell, output: &mut Output) -> Result<(), Failure> {
    opening::check_database(&asked.place.directory)?;
    let mut lines = Lines::open(output)?;
    let mut worst = Ok(());
    while let Some(line) = lines.next()? {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if matches!(line, "exit" | "quit") {
            break;
        }
        let done = carry_out(asked, line, output);
        output.finish()?;
        match done {
            Ok(()) => {}
            Err(Failure::NobodyReads) => return Ok(()),
            Err(failure) => {
                failure.tell();
                // A script shows by its code that something went wrong.
                worst = Err(Failure::Told(failure.code()));
            }
        }
    }
    match lines {
        Lines::Terminal(_) => Ok(()),
        Lines::Script(_) => worst,
    }
}

fn carry_out(asked: &Shell, line: &str, output: &mut Output) -> Result<(), Failure> {
    let mut words =
        words(line).ok_or_else(|| Failure::Usage("a quote is not closed".to_owned()))?;
    let after_verb = match words.first().map(String::as_str) {
        Some("help") | None => 0,
        Some("explain") => 2,
        Some(_) => 1,
    };
    if after_verb > 0 && after_verb <= words.len() {
        let directory = asked.place.directory.to_string_lossy().into_owned();
        words.insert(after_verb, directory);
        for operator in &asked.place.operators {
            words.insert(after_verb, format!("--operator={operator}"));
        }
    }
    match Line::try_parse_from(words) {
        Ok(line) if matches!(line.command, Command::Shell(_)) => {
            Err(Failure::Usage("this is a shell already".to_owned()))
        }
        Ok(line) => crate::run(&line.command, output),
        Err(error) => {
            let told = error.render();
            if error.use_stderr() {
                eprint!("{told}");
                Err(Failure::Told(2))
            } else {
                output.line(told)
            }
        }
    }
}

/// The words of a line; those with spaces in quotes, single or double. `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Where commands come from.
enum Lines {
    Terminal(Box<rustyline::DefaultEditor>),
    Script(io::Lines<io::StdinLock<'static>>),
}

impl Lines {
    fn open(output: &Output) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Script(io::stdin().lock().lines()));
        }
        output.note("commands without the directory: get KEY, put KEY VALUE, scan, help, exit");
        let editor = rustyline::DefaultEditor::new();
        let editor = editor.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    fn next(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Script(lines) => Ok(lines.next().transpose()?),
            Self::Terminal(editor) => match editor.readline("trine> ") {
                Ok(line) => {
                    // Without it the line cannot be called back, and that is all.
                    drop(editor.add_history_entry(&line));
                    Ok(Some(line))
                }
                // The interrupt key empties the line.
                Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
                Err(ReadlineError::Eof) => Ok(None),
                Err(error) => Err(Failure::Failed(error.to_string())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        let found = words(r#"put 'a key'  "it's" x""y "" "#).unwrap();
        assert_eq!(found, ["put", "a key", "it's", "xy", ""]);
        assert_eq!(words("put 'a"), None);
    }
}
