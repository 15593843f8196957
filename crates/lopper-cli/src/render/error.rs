//! Errors: what and where, then what to try. Colour only on a terminal, and not where `NO_COLOR` is set.

use std::process::ExitCode;

use clap::error::ErrorKind;
use lopper::Error;

/// The request or the data is wrong.
const WRONG: u8 = 1;
/// The machine failed.
const MACHINE: u8 = 2;

const RED: &str = "\x1b[1;31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Prints an error of a run and gives its exit status.
pub fn failure(error: &Error) -> ExitCode {
    anstream::eprintln!("{RED}error{PLAIN}: {}", visible(&error.to_string()));
    if let Some(hint) = error.hint() {
        anstream::eprintln!("  {CYAN}try{PLAIN}: {}", visible(hint));
    }
    ExitCode::from(if error.is_machine() { MACHINE } else { WRONG })
}

/// Names in files may hold what commands a terminal; here it is spelt out.
fn visible(text: &str) -> String {
    let spelt = |letter: char| {
        if letter.is_control() && letter != '\n' { letter.escape_default().collect() } else { String::from(letter) }
    };
    text.chars().map(spelt).collect()
}

/// Prints what clap has to say (an error, help, the version) and gives the exit status.
pub fn usage(usage: &clap::Error) -> ExitCode {
    // a closed pipe is no reason to fail
    let _ = usage.print();
    match usage.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(visible("tensor `a\u{1b}[2J\u{7}`:\nä\u{9b}31m"), "tensor `a\\u{1b}[2J\\u{7}`:\nä\\u{9b}31m");
    }
}
