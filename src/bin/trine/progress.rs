//! Progress of long work, on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A bar of bytes done, with rate and remaining time.
pub(crate) fn of_bytes(output: &Output, what: &'static str, whole: Option<u64>) -> ProgressBar {
    match whole {
        Some(whole) => bar(
            output,
            what,
            Some(whole),
            "{msg} [{wide_bar:.cyan/blue}] {percent}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
        ),
        None => bar(
            output,
            what,
            None,
            "{spinner} {msg} {bytes}  {bytes_per_sec}  {elapsed}",
        ),
    }
}

/// A bar of things done.
pub(crate) fn of_things(output: &Output, what: &'static str, whole: Option<u64>) -> ProgressBar {
    match whole {
        Some(whole) => bar(
            output,
            what,
            Some(whole),
            "{msg} [{wide_bar:.cyan/blue}] {percent}%  {human_pos}/{human_len}  {per_sec}  {eta} left",
        ),
        None => bar(
            output,
            what,
            None,
            "{spinner} {msg} {human_pos}  {per_sec}  {elapsed}",
        ),
    }
}

fn bar(output: &Output, what: &'static str, whole: Option<u64>, form: &str) -> ProgressBar {
    // Standard error draws nothing where it is not a terminal.
    let target = if output.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(10)
    };
    let bar = ProgressBar::with_draw_target(whole, target).with_message(what);
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
