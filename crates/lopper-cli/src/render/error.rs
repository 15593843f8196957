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
    anstream::eprintln!("{RED}error{PLAIN}: {error}");
    if let Some(hint) = error.hint() {
        anstream::eprintln!("  {CYAN}try{PLAIN}: {hint}");
    }
    ExitCode::from(if error.is_machine() { MACHINE } else { WRONG })
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
