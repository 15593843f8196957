//! The run, from top to bottom: open and check everything, prune and repair block by block, write, reopen, audit, score.

mod account;
mod audit;
mod begin;
mod block_state;
mod choose;
mod choose_experts;
mod compact;
mod compress;
mod expert_loss;
mod identity;
mod job;
mod journal;
mod look;
mod output;
mod record;
mod refit;
mod retrain;
mod solve;
mod states;
mod survey;
mod train;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::checkpoint::{Checkpoint, Rewrite, Unfinished, check_output};
use crate::error::{Error, Result};
use crate::explain::shrunk;
use crate::model::{Decoder, Omitted};
use crate::plan::{Allocation, Plan};
use crate::progress::{Event, Observer};
use crate::report::{Report, ScoredModel, Stage};
use crate::schedule::Run;
use account::{publish, report};
use choose::omitted;
use compress::compress;
use identity::identity;
use job::Job;
#[doc(hidden)]
pub use journal::check_journal;
use journal::{Journal, MODEL, SECOND};
use output::{Output, open};
use record::Record;
use retrain::retrain;
use survey::allocate;

/// More worker threads than cores are in any machine.
const MOST_THREADS: usize = 4096;

/// Prunes and repairs `model` as `plan` says and writes the result to `out`, which must not exist yet.
/// Until everything is written, reopened and audited, `out` does not appear; the input is only read. Interrupted, it leaves what
/// is finished in [`Unfinished`] beside `out`, and the same call goes on there. What the report calls the model is in the plan.
///
/// # Errors
/// Whatever is wrong with plan, model or texts, before anything is computed; later only if the machine fails.
pub fn prune(plan: &Plan, model: &Decoder, out: &Path, observer: &mut (dyn Observer + Send)) -> Result<Report> {
    go_on(plan, model, out, None, observer)
}

/// As [`prune`], where an interrupted run has left more than the first `blocks` blocks of `out`: keeps those, and does the others
/// by this plan, which may prune and train otherwise.
///
/// # Errors
/// As [`prune`], and where no such run was left: one with the same model, texts, calibration and way to compute.
pub fn redo_from(
    blocks: usize,
    plan: &Plan,
    model: &Decoder,
    out: &Path,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    go_on(plan, model, out, Some(blocks), observer)
}

fn go_on(
    plan: &Plan,
    model: &Decoder,
    out: &Path,
    redo: Option<usize>,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    resolved(plan, model, out, observer, |mut job, run, models, started| {
        let unfinished = Unfinished::open(out, model.checkpoint().dir())?;
        let report = model.checkpoint().fingerprint().and_then(|fingerprint| {
            let identity = identity(run, &fingerprint, &job, redo)?;
            let journal = Journal::open(&unfinished, identity, redo, run, &mut job, started)?;
            execute(job, run, models, fingerprint, out, journal)
        });
        if report.is_ok() || !Journal::is_in(unfinished.directory()) {
            Journal::end(unfinished);
        }
        report
    })
}

/// As [`prune`], with the scores of the dense model known from a run of the same evaluation and calibration if they are given; an
/// interrupted run leaves nothing.
///
/// # Errors
/// As [`prune`].
pub fn prune_knowing(
    dense: Option<&ScoredModel>,
    plan: &Plan,
    model: &Decoder,
    out: &Path,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    resolved(plan, model, out, observer, |job, run, models, started| {
        let fingerprint = model.checkpoint().fingerprint()?;
        execute(job, run, models, fingerprint, out, Journal::of_scores(dense, started))
    })
}

/// The model as it was given, and the same without the blocks and experts that go.
type Models<'a> = [&'a Decoder; 2];

/// Resolves the plan, opens and checks what the run reads, and runs it.
fn resolved(
    plan: &Plan,
    model: &Decoder,
    out: &Path,
    observer: &mut (dyn Observer + Send),
    execute: impl FnOnce(Job, &Run, Models, Instant) -> Result<Report> + Send,
) -> Result<Report> {
    let started = Instant::now();
    check_output(out, Some(model.checkpoint().dir()))?;
    in_pool(plan.compute.threads, || {
        let smaller = |omitted: &Omitted| Decoder::open(Checkpoint::open(model.checkpoint().dir())?)?.without(omitted);
        let sketch = smaller(&plan.omitted(model.spec())?)?;
        let sketch = Run::new(plan, sketch.spec())?;
        let mut job = Job::open(&sketch, model, observer)?;
        job.fit(&sketch, out)?;
        let omitted = omitted(&mut job, plan, model)?;
        let smaller = smaller(&omitted)?;
        let run = Run::new(plan, smaller.spec())?;
        execute(job, &run, [model, &smaller], started)
    })
}

/// Where an interrupted run of [`prune`] has left what it finished, if it has finished anything: the same call goes on there.
pub fn unfinished(out: &Path) -> Option<PathBuf> {
    Unfinished::beside(out).filter(|directory| directory.exists() && Journal::is_in(directory))
}

/// Removes what a run of [`prune`] in this process leaves when it is interrupted, if it has finished nothing.
pub fn remove_empty(out: &Path) {
    let is_empty = |directory: &PathBuf| Unfinished::is_ours(directory) && !Journal::is_in(directory);
    if let Some(directory) = Unfinished::beside(out).filter(is_empty) {
        // nothing better can be done with a failure here
        let _ = std::fs::remove_dir_all(directory);
    }
}

fn execute(
    mut job: Job,
    run: &Run,
    [whole, model]: Models,
    fingerprint: String,
    out: &Path,
    mut journal: Journal,
) -> Result<Report> {
    let source = model.checkpoint();
    let omitted = run.spec.omitted();
    let config = model.edited_config(&run.kept_units())?;
    let mut rewrite = journal.rewrite(source, out, 2 * kept_bytes(run, &job) + job.scratch)?;
    let retrains = run.retrains() && !journal.is_retrained();
    let lower: Vec<&Run> = run.lower.iter().filter(|lower| !journal.knows(lower.name)).collect();
    if retrains || !lower.is_empty() || config.is_some() && !journal.is_retrained() {
        // a second copy is needed for a while: no disk may turn out to be too small for it later
        drop(journal.second(source, out)?);
    }
    journal.score(&mut job, "dense", |job| job.evaluate("dense", whole))?;
    let allocation = journal.allocation(&mut job, |job| allocate(job, run, model))?;
    for lower in lower {
        let rewrite = journal.second(source, out)?;
        journal.score(&mut job, lower.name, |job| score_lower(job, lower, &allocation, model, rewrite))?;
    }
    if !retrains && !journal.is_retrained() {
        journal.release(SECOND)?;
    }
    let mut record = compress(&mut job, run, &allocation, model, &mut rewrite, &mut journal)?;
    if let Some(name) = run.before_retraining {
        journal.score(&mut job, name, |job| job.evaluate(name, &open(&mut rewrite, &omitted)?))?;
    }
    if retrains {
        let mut again = journal.second(source, out)?;
        retrain(&mut job, run, [whole, &open(&mut rewrite, &omitted)?], &mut again, &mut record)?;
        journal.retrained(&job, &record, &again)?;
        rewrite = again;
        journal.release(MODEL)?;
    }
    let zeros = check(&mut job, model, (&mut rewrite, &omitted), &record)?;
    let (mut output, mut shrunk) = (Output::Copy(rewrite), shrunk(run, [whole, model])?);
    if let (Some(config), Some(shrunk)) = (config, &mut shrunk) {
        let full = output.open(&omitted)?;
        output = Output::smaller(&mut job, (&run.narrowings, &config), &full, (out, &journal))?;
        let small = output.open(&omitted)?;
        // what was foreseen, as it is in the files
        (shrunk.parameters[1], shrunk.bytes[1]) =
            (small.checkpoint().total_elements(), small.checkpoint().total_bytes());
    }
    journal.score(&mut job, run.name, |job| job.evaluate(run.name, &output.open(&omitted)?))?;
    let (evaluation, seconds) = journal.finish();
    let report = report(job, run, model, fingerprint, (record, zeros, evaluation), (seconds, shrunk))?;
    publish(output, &report, (out, model.checkpoint().dir()))?;
    Ok(report)
}

/// Bytes of the hidden states that are kept between windows.
fn kept_bytes(run: &Run, job: &Job) -> u64 {
    let tokens: usize = job.samples.iter().map(Vec::len).sum();
    let numbers = run.schedule.kept().count() * tokens * run.spec.hidden;
    numbers as u64 * run.plan.compute.hidden_states.bytes()
}

/// Completes the files, reopens them, and checks every promise. Returns the number of zeros.
fn check(
    job: &mut Job,
    decoder: &Decoder,
    (rewrite, omitted): (&mut Rewrite, &Omitted),
    record: &Record,
) -> Result<usize> {
    job.observer.event(Event::Stage { name: "writing and checking the files" });
    job.timings.measure(Stage::Write, || audit::audit(decoder, &open(rewrite, omitted)?, record))
}

/// A model repaired less than the plan says, scored and thrown away.
fn score_lower(
    job: &mut Job,
    run: &Run,
    allocation: &Allocation,
    model: &Decoder,
    mut rewrite: Rewrite,
) -> Result<ScoredModel> {
    let known = job.warnings.len();
    compress(job, run, allocation, model, &mut rewrite, &mut Journal::of_scores(None, Instant::now()))?;
    job.warnings[known..].iter_mut().for_each(|warning| *warning = format!("{} model: {warning}", run.name));
    let omitted = run.spec.omitted();
    job.evaluate(run.name, &open(&mut rewrite, &omitted)?)
}

/// Runs `f` with so many worker threads; the machine's number of cores if absent.
///
/// # Errors
/// If the threads cannot be started, or those of `f`.
pub fn in_pool<R: Send>(threads: Option<usize>, f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let count = threads.unwrap_or(0);
    let fault = |why: String| Error::Plan { problem: format!("cannot start {count} threads: {why}"), hint: None };
    if count > MOST_THREADS {
        return Err(fault(format!("no machine has more than {MOST_THREADS} cores")));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
    let pool = pool.map_err(|error| fault(error.to_string()))?;
    pool.install(f)
}
