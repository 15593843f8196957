//! The command line of lopper: arguments to a plan, the run, and what people and programs read afterwards.

mod args;
mod card;
mod demo;
mod doctor;
mod eval;
mod explain;
mod inspect;
mod interrupt;
mod list;
mod model;
mod prune;
mod render;
mod shell;
mod study;

use std::process::ExitCode;

use lopper::Result;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(usage) => return render::error::usage(&usage),
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => render::error::failure(&error),
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Prune(args) => prune::run(args, cli.quiet),
        Command::Eval(args) => eval::run(args, cli.quiet),
        Command::Inspect(args) => inspect::run(args, cli.quiet),
        Command::Card(args) => card::run(args),
        Command::Explain(args) => explain::run(args, cli.quiet),
        Command::Study(args) => study::run(args, cli.quiet),
        Command::List(args) => list::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::manual(args),
    }
}
