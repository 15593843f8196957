//! The run, from top to bottom: open and check everything, prune and repair block by block, write, reopen, audit, score.

mod audit;
mod block_state;
mod compress;
mod job;
mod retrain;
mod streams;
mod survey;
mod train;

use std::path::Path;
use std::time::Instant;

use crate::checkpoint::{Checkpoint, Rewrite};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::plan::{Allocation, Plan};
use crate::progress::{Event, Observer};
use crate::report::{ModelFacts, Report, Rung, Stage, peak_memory};
use crate::schedule::{lower_rungs, rung_before_retraining, rung_name};
use compress::{Record, compress};
use job::Job;
use retrain::retrain;
use survey::allocate;

/// Prunes and repairs the checkpoint in `model` as `plan` says and writes the result to `out`, which must not exist yet.
/// Until everything is written, reopened and audited, `out` does not appear; the input is only read.
///
/// # Errors
/// Whatever is wrong with plan, model or texts, before anything is computed; later only if the machine fails.
pub fn prune(plan: &Plan, model: &Path, out: &Path, observer: &mut (dyn Observer + Send)) -> Result<Report> {
    prune_knowing(None, plan, model, out, observer)
}

/// As [`prune`], with the scores of the dense model known from a run of the same evaluation and calibration windows.
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
    in_pool(plan.compute.threads, || {
        let started = Instant::now();
        let mut job = Job::open(plan, model, observer)?;
        let decoder = Decoder::open(Checkpoint::open(model)?, job.device.clone())?;
        let mut rewrite = Rewrite::begin(decoder.checkpoint(), out)?;
        if plan.evaluation.ladder {
            // a lower rung needs a second copy for a while: no disk may turn out to be too small for it later
            drop(Rewrite::begin(decoder.checkpoint(), out)?);
        }
        let mut evaluation = vec![dense.map_or_else(|| job.evaluate("dense", &decoder), |rung| Ok(rung.clone()))?];
        let allocation = allocate(&mut job, plan, &decoder)?;
        for (name, plan) in lower_rungs(plan) {
            evaluation.push(rung(&mut job, name, (&plan, &allocation), &decoder, out)?);
        }
        let mut record = compress(&mut job, plan, &allocation, &decoder, &mut rewrite)?;
        if let Some(name) = rung_before_retraining(plan) {
            evaluation.push(job.evaluate(name, &open(&job, &mut rewrite)?)?);
        }
        retrain(&mut job, plan, &decoder, &mut rewrite, &mut record)?;
        let (scores, zeros) = finish(&mut job, plan, &decoder, &mut rewrite, &record)?;
        evaluation.push(scores);
        let report = report(job, plan, &decoder, (record, zeros, evaluation), started)?;
        rewrite.add_file("report.json", &json(&report)?)?;
        rewrite.add_file("plan.toml", report.plan.to_toml()?.as_bytes())?;
        rewrite.publish()?;
        Ok(report)
    })
}

/// Completes the files, reopens them, checks every promise, and scores them. Returns scores and zeros.
fn finish(
    job: &mut Job,
    plan: &Plan,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
    record: &Record,
) -> Result<(Rung, usize)> {
    job.observer.event(Event::Stage { name: "writing and checking the files" });
    let device = job.device.clone();
    let (written, zeros) = job.timings.measure(Stage::Write, || {
        let written = Decoder::open(Checkpoint::open(rewrite.complete()?)?, device)?;
        let zeros = audit::audit(decoder, &written, record)?;
        Ok::<_, Error>((written, zeros))
    })?;
    Ok((job.evaluate(rung_name(plan), &written)?, zeros))
}

/// A model repaired less than the plan says, scored and thrown away.
fn rung(
    job: &mut Job,
    name: &str,
    (plan, allocation): (&Plan, &Allocation),
    decoder: &Decoder,
    out: &Path,
) -> Result<Rung> {
    let mut rewrite = Rewrite::begin(decoder.checkpoint(), out)?;
    let known = job.warnings.len();
    compress(job, plan, allocation, decoder, &mut rewrite)?;
    job.warnings[known..].iter_mut().for_each(|warning| *warning = format!("{name} model: {warning}"));
    job.evaluate(name, &open(job, &mut rewrite)?)
}

/// The model as it has been written so far.
fn open(job: &Job, rewrite: &mut Rewrite) -> Result<Decoder> {
    Decoder::open(Checkpoint::open(rewrite.complete()?)?, job.device.clone())
}

fn report(
    job: Job,
    plan: &Plan,
    decoder: &Decoder,
    (record, zeros, mut evaluation): (Record, usize, Vec<Rung>),
    started: Instant,
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
        fingerprint: checkpoint.fingerprint()?,
    };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        plan: plan.resolved(decoder.spec())?,
        model,
        evaluation,
        matrices: record.matrices,
        windows: record.windows,
        timings: job.timings,
        seconds: started.elapsed().as_secs_f64(),
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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    let pool = pool
        .map_err(|error| Error::Plan { problem: format!("cannot start {threads:?} threads: {error}"), hint: None })?;
    pool.install(f)
}
