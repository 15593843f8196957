//! `lopper completions` and `lopper man`: both are made from the definition of the command line.

use clap::CommandFactory;
use lopper::{Error, Result};

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::render::output;

/// Prints a completion script.
///
/// # Errors
/// If stdout cannot be written.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lopper", &mut script);
    output::bytes(&script)
}

/// Writes the manual pages.
///
/// # Errors
/// If the directory or stdout cannot be written.
pub fn manual(args: &ManArgs) -> Result<()> {
    if let Some(directory) = &args.dir {
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        return clap_mangen::generate_to(Cli::command(), directory).map_err(Error::io("write", directory));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Error::io("write", "the manual page"))?;
    output::bytes(&page)
}
