//! `lopper card`: the card of a pruned model, made anew.

use lopper::Result;
use lopper::card::remake;

use crate::args::CardArgs;
use crate::render::output;

/// Writes the card, and says where it is.
///
/// # Errors
/// If the directory has no report, or a file cannot be read or written.
pub fn run(args: &CardArgs) -> Result<()> {
    let path = remake(&args.model, &args.scores)?;
    output::print(&format!("{}\n", path.display()))
}
