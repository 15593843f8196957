//! Studies: a question, a grid of settings, a run for each point, and the answer as a table, JSON and a plot.
//!
//! A study is data ([`Study`], a TOML file). Runs are of two kinds: a model pruned by a plan, and a compensation timed on
//! a random layer. Each run leaves a file, so a study that was stopped goes on where it was.

mod answer;
mod axis;
mod builtin;
mod definition;
mod directory;
mod execute;
mod grid;
mod measures;
mod plot;
mod pruning;
mod settings;
mod solving;
mod summary;

use std::path::Path;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::progress::Observer;

pub use answer::Answer;
pub use axis::{Axis, Coordinate};
pub use builtin::{BuiltIn, STUDIES};
pub use definition::{Runner, Study};
pub use directory::{Finding, Outcome, Record};
pub use measures::{MEASURES, Measure};
pub use solving::SolverTiming;
pub use summary::{Row, Statistic};

use directory::{Directory, json};
use execute::{Run, execute};
use grid::{Case, check_distinct};
use pruning::Pruner;

/// Makes every run of `study` that `out` does not hold yet, and writes the answer there. Models that are pruned are
/// removed once their report was taken, unless `keep` is set; then they stay in `out/models`.
///
/// # Errors
/// If the study makes no sense for the model, before anything is computed; later only if `out` cannot be written.
/// Runs that fail are counted in the answer.
pub fn run(
    study: &Study,
    model: Option<&Path>,
    out: &Path,
    keep: bool,
    observer: &mut (dyn Observer + Send),
) -> Result<Answer> {
    match study.runner {
        Runner::Prune => {
            let model = model.ok_or_else(|| wrong("no model is named", "a study that prunes needs one"))?;
            prune_all(study, model, out, keep, observer)
        }
        Runner::Solver => {
            let cases = study.timings()?;
            check_distinct(&cases, &study.titles())?;
            let directory = Directory::open(out, study, None)?;
            let known = cases.iter().map(|case| directory.record(&case.fingerprint).filter(is_done)).collect();
            finish(study, &cases, known, &directory, &mut |case, _| case.settings.run(), observer)
        }
    }
}

fn prune_all(
    study: &Study,
    model: &Path,
    out: &Path,
    keep: bool,
    observer: &mut (dyn Observer + Send),
) -> Result<Answer> {
    let decoder = Decoder::open(Checkpoint::open(model)?)?;
    let cases = study.plans(&decoder)?;
    check_distinct(&cases, &study.titles())?;
    let directory = Directory::open(out, study, Some(model))?;
    let here = |record: &Record| is_done(record) && (!keep || directory.model(&record.fingerprint).exists());
    let known: Vec<_> = cases.iter().map(|case| directory.record(&case.fingerprint).filter(here)).collect();
    let mut pruner = Pruner::new(&decoder, &directory, keep, &cases, &known)?;
    let answer = finish(study, &cases, known, &directory, &mut |case, observer| pruner.run(case, observer), observer);
    directory.remove_empty_models();
    answer
}

/// A run that failed is made again.
fn is_done(record: &Record) -> bool {
    record.finding().is_some()
}

/// Makes the runs and writes the answer.
fn finish<S: Serialize>(
    study: &Study,
    cases: &[Case<S>],
    known: Vec<Option<Record>>,
    directory: &Directory,
    run: &mut Run<S>,
    observer: &mut (dyn Observer + Send),
) -> Result<Answer> {
    let executed = execute(cases, known, &study.titles(), directory, run, observer)?;
    let points: Vec<_> = cases.iter().map(|case| case.point.clone()).collect();
    let mut answer = Answer::new(study, &points, executed.records)?;
    (answer.taken, answer.failure) = (executed.taken, executed.failure);
    directory.write("table.md", answer.markdown().as_bytes())?;
    directory.write("results.json", &json(&answer)?)?;
    directory.write("plot.svg", answer.plot()?.as_bytes())?;
    for cost in study.costs()? {
        directory.write(&answer::plot_name(cost), answer.plot_against(cost)?.as_bytes())?;
    }
    Ok(answer)
}

/// An error about a study; an empty hint is none.
fn wrong(problem: &str, hint: &str) -> Error {
    Error::Plan { problem: problem.into(), hint: (!hint.is_empty()).then(|| hint.into()) }
}

#[cfg(test)]
mod tests;
