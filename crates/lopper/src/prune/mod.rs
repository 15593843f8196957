//! The run, from top to bottom: open and check everything, prune and repair block by block, write, reopen, audit, score.

mod audit;
mod block_state;
mod compress;
mod job;
mod journal;
mod record;
mod retrain;
mod solve;
mod states;
mod survey;
mod train;

use std::path::{Path, PathBuf};
use std::time::Instant;

use lopper_kernels::dispatch::Tier;

use crate::checkpoint::{Checkpoint, Rewrite, Unfinished};
use crate::error::{Error, Result};
use crate::machine::peak_memory;
use crate::model::Decoder;
use crate::plan::{Allocation, Plan, RetrainingObjective};
use crate::progress::{Event, Observer};
use crate::report::{ModelFacts, Report, Rung, Stage};
use crate::schedule::{Schedule, lower_rungs, rung_before_retraining, rung_name};
use compress::compress;
use job::Job;
#[doc(hidden)]
pub use journal::check_journal;
use journal::{Identity, Journal, MODEL, SECOND};
use record::Record;
use retrain::retrain;
use survey::allocate;

/// More worker threads than cores are in any machine.
const MOST_THREADS: usize = 4096;

/// Prunes and repairs the checkpoint in `model` as `plan` says and writes the result to `out`, which must not exist yet.
/// Until everything is written, reopened and audited, `out` does not appear; the input is only read. Interrupted, it leaves what
/// is finished in [`Unfinished`] beside `out`, and the same call goes on there.
///
/// # Errors
/// Whatever is wrong with plan, model or texts, before anything is computed; later only if the machine fails.
pub fn prune(plan: &Plan, model: &Path, out: &Path, observer: &mut (dyn Observer + Send)) -> Result<Report> {
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
    model: &Path,
    out: &Path,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    go_on(plan, model, out, Some(blocks), observer)
}

fn go_on(
    plan: &Plan,
    model: &Path,
    out: &Path,
    redo: Option<usize>,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    opened(plan, model, out, observer, |mut job, decoder, started| {
        let place = Unfinished::open(out, model)?;
        let report = decoder.checkpoint().fingerprint().and_then(|fingerprint| {
            let identity = identity(plan, decoder, &fingerprint, &job, redo)?;
            let journal = Journal::open(&place, identity, redo, (plan, decoder.spec()), &mut job, started)?;
            run(job, plan, decoder, fingerprint, out, journal)
        });
        if report.is_ok() || !Journal::is_in(place.directory()) {
            Journal::end(place);
        }
        report
    })
}

/// As [`prune`], with the scores of the dense model known from a run of the same evaluation and calibration windows if they are
/// given; an interrupted run leaves nothing.
///
/// # Errors
/// As [`prune`].
pub fn prune_knowing(
    dense: Option<&Rung>,
    plan: &Plan,
    model: &Path,
    out: &Path,
    observer: &mut (dyn Observer + Send),
) -> Result<Report> {
    opened(plan, model, out, observer, |job, decoder, started| {
        let fingerprint = decoder.checkpoint().fingerprint()?;
        run(job, plan, decoder, fingerprint, out, Journal::of_scores(dense, started))
    })
}

/// Opens and checks what a run reads, and runs it.
fn opened(
    plan: &Plan,
    model: &Path,
    out: &Path,
    observer: &mut (dyn Observer + Send),
    run: impl FnOnce(Job, &Decoder, Instant) -> Result<Report> + Send,
) -> Result<Report> {
    let started = Instant::now();
    in_pool(plan.compute.threads, || {
        let (mut job, decoder) = Job::open(plan, model, observer)?;
        job.fit(plan, decoder.spec(), out)?;
        run(job, &decoder, started)
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

/// Names everything that the outcome depends on.
fn identity(plan: &Plan, decoder: &Decoder, model: &str, job: &Job, redo: Option<usize>) -> Result<Identity> {
    let mut plan = plan.resolved(decoder.spec())?;
    // the bytes of the outcome depend on none of these
    (plan.model, plan.compute.threads, plan.compute.memory) = (String::new(), None, None);
    // kernels of another kind sum in another order
    let machine = format!("{} {:?} {}", std::env::consts::ARCH, Tier::detect(), lopper_kernels::bf16_is_native());
    let (program, texts) = (env!("CARGO_PKG_VERSION"), job.digest());
    let name = |plan: &Plan, redo: &str| {
        let parts = [program, &machine, &plan.to_toml()?, model, &texts, redo];
        Ok::<_, Error>(blake3::hash(parts.join("\n").as_bytes()).to_hex().to_string())
    };
    let run = name(&plan, &redo.map_or_else(String::new, |blocks| blocks.to_string()))?;
    let Plan { calibration, evaluation, compute, .. } = plan;
    Ok(Identity { run, input: name(&Plan { calibration, evaluation, compute, ..Plan::default() }, "")? })
}

fn run(
    mut job: Job,
    plan: &Plan,
    decoder: &Decoder,
    identity: String,
    out: &Path,
    mut journal: Journal,
) -> Result<Report> {
    let source = decoder.checkpoint();
    let spare = 2 * kept_bytes(plan, decoder, &job)? + job.scratch;
    let mut rewrite = journal.rewrite(source, out, spare)?;
    let retrains = plan.retraining.objective != RetrainingObjective::None && !journal.is_retrained();
    let lower: Vec<_> = lower_rungs(plan).into_iter().filter(|(name, _)| !journal.knows(name)).collect();
    if retrains || !lower.is_empty() {
        // a second copy is needed for a while: no disk may turn out to be too small for it later
        drop(journal.second(source, out)?);
    }
    journal.score(&mut job, "dense", |job| job.evaluate("dense", decoder))?;
    let allocation = journal.allocation(&mut job, |job| allocate(job, plan, decoder))?;
    for (name, plan) in lower {
        let rewrite = journal.second(source, out)?;
        journal.score(&mut job, name, |job| rung(job, name, (&plan, &allocation), decoder, rewrite))?;
    }
    if !retrains && !journal.is_retrained() {
        journal.release(SECOND)?;
    }
    let mut record = compress(&mut job, plan, &allocation, decoder, &mut rewrite, &mut journal)?;
    if let Some(name) = rung_before_retraining(plan) {
        journal.score(&mut job, name, |job| job.evaluate(name, &open(&mut rewrite)?))?;
    }
    if retrains {
        let mut again = journal.second(source, out)?;
        retrain(&mut job, plan, [decoder, &open(&mut rewrite)?], &mut again, &mut record)?;
        journal.retrained(&job, &record, &again)?;
        rewrite = again;
        journal.release(MODEL)?;
    }
    let zeros = check(&mut job, decoder, &mut rewrite, &record)?;
    let last = rung_name(plan);
    journal.score(&mut job, last, |job| job.evaluate(last, &open(&mut rewrite)?))?;
    let (evaluation, seconds) = journal.finish();
    let report = report(job, plan, decoder, identity, (record, zeros, evaluation), seconds)?;
    rewrite.add_file("report.json", &json(&report)?)?;
    rewrite.add_file("plan.toml", report.plan.to_toml()?.as_bytes())?;
    rewrite.publish()?;
    Ok(report)
}

/// Bytes of the hidden states that are kept between windows.
fn kept_bytes(plan: &Plan, decoder: &Decoder, job: &Job) -> Result<u64> {
    let streams = Schedule::new(plan, decoder.spec())?.kept().count() as u64;
    let tokens: usize = job.samples.iter().map(Vec::len).sum();
    Ok(streams * (tokens * decoder.spec().hidden) as u64 * plan.compute.hidden_states.bytes())
}

/// Completes the files, reopens them, and checks every promise. Returns the number of zeros.
fn check(job: &mut Job, decoder: &Decoder, rewrite: &mut Rewrite, record: &Record) -> Result<usize> {
    job.observer.event(Event::Stage { name: "writing and checking the files" });
    job.timings.measure(Stage::Write, || audit::audit(decoder, &open(rewrite)?, record))
}

/// A model repaired less than the plan says, scored and thrown away.
fn rung(
    job: &mut Job,
    name: &str,
    (plan, allocation): (&Plan, &Allocation),
    decoder: &Decoder,
    mut rewrite: Rewrite,
) -> Result<Rung> {
    let known = job.warnings.len();
    compress(job, plan, allocation, decoder, &mut rewrite, &mut Journal::of_scores(None, Instant::now()))?;
    job.warnings[known..].iter_mut().for_each(|warning| *warning = format!("{name} model: {warning}"));
    job.evaluate(name, &open(&mut rewrite)?)
}

/// The model as it has been written so far.
fn open(rewrite: &mut Rewrite) -> Result<Decoder> {
    Decoder::open(Checkpoint::open(rewrite.complete()?)?)
}

fn report(
    job: Job,
    plan: &Plan,
    decoder: &Decoder,
    fingerprint: String,
    (record, zeros, mut evaluation): (Record, usize, Vec<Rung>),
    seconds: f64,
) -> Result<Report> {
    if let Some((dense, others)) = evaluation.split_first_mut() {
        for rung in others {
            rung.compare(dense);
        }
    }
    let checkpoint = decoder.checkpoint();
    let model = ModelFacts {
        path: plan.model.clone(),
        family: decoder.spec().family,
        prunable: record.matrices.iter().map(|facts| facts.shape[0] * facts.shape[1]).sum(),
        zeros,
        target: plan.targets(decoder.spec())?.zeros().0,
        bytes: checkpoint.total_bytes(),
        fingerprint,
    };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        plan: plan.resolved(decoder.spec())?,
        model,
        evaluation,
        matrices: record.matrices,
        windows: record.windows,
        timings: job.timings,
        seconds,
        peak_memory: peak_memory(),
        warnings: job.warnings,
    })
}

fn json(report: &Report) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(report)
        .map_err(|error| Error::Numeric { problem: format!("the report has no JSON form: {error}"), hint: None })
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
