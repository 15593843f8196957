//! `lopper prune`: settle the plan, run it, show the report.

use std::path::Path;

use lopper::Result;
use lopper::checkpoint::{Checkpoint, check_output};
use lopper::model::Decoder;
use lopper::prune::{prune, redo_from, unfinished};

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
    // before anything is fetched or read
    check_output(&args.out, args.model.as_deref().map(Path::new).filter(|model| model.is_dir()))?;
    let (model, plan) = settle(args.model.as_deref(), &args.plan, &interrupt, &mut progress)?;
    interrupt.keep_finished(&args.out);
    let result = Decoder::open(Checkpoint::open(model.directory())?).and_then(|model| match args.redo_from {
        Some(block) => redo_from(block, &plan, &model, &args.out, &mut progress),
        None => prune(&plan, &model, &args.out, &mut progress),
    });
    progress.finish(result.is_ok());
    if let (Err(error), Some(directory)) = (&result, unfinished(&args.out)) {
        let then = if error.is_machine() { ", and the same command goes on there" } else { "" };
        eprintln!("note: what is finished is in {}{then}", directory.display());
    }
    let report = result?;
    if args.json {
        return output::json(&report);
    }
    output::print(&report::text(&report, &args.out))
}
