//! `lopper prune`: settle the plan, run it, show the report.

use lopper::Result;
use lopper::prune::unfinished;

use crate::args::PruneArgs;
use crate::interrupt::Interrupt;
use crate::model::settle;
use crate::render::progress::Progress;
use crate::render::{output, report};

/// Prunes, and prints the report.
///
/// # Errors
/// Those of the run.
pub fn run(args: &PruneArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::install();
    let mut progress = Progress::new(quiet);
    let (model, plan) = settle(args.model.as_deref(), &args.plan, &interrupt, &mut progress)?;
    interrupt.remove_partial(&args.out);
    interrupt.keep_finished(&args.out);
    let result = lopper::prune::prune(&plan, model.directory(), &args.out, &mut progress);
    progress.finish(result.is_ok());
    if let (Err(error), Some(directory)) = (&result, unfinished(&args.out))
        && error.is_machine()
    {
        eprintln!("note: the same command goes on where it was; what is finished is in {}", directory.display());
    }
    let report = result?;
    if args.json {
        return output::json(&report);
    }
    output::print(&report::text(&report, &args.out))
}
