//! What a finished run leaves beside the weights: the report, the plan, and the card of the model.

use std::path::Path;

use super::job::Job;
use super::output::Output;
use super::record::Record;
use crate::card::{base_cards, card, name_of};
use crate::checkpoint::{BASE_CARD, CARD};
use crate::error::{Error, Result};
use crate::hub::HubModel;
use crate::machine::peak_memory;
use crate::model::Decoder;
use crate::report::{ModelFacts, Report, ScoredModel, Shrunk, Summary};
use crate::schedule::Run;

/// All that is known of a run.
pub(super) fn report(
    mut job: Job,
    run: &Run,
    decoder: &Decoder,
    fingerprint: String,
    (record, zeros, mut evaluation): (Record, usize, Vec<ScoredModel>),
    (seconds, shrunk): (f64, Option<Shrunk>),
) -> Result<Report> {
    if let Some((dense, others)) = evaluation.split_first_mut() {
        for model in others {
            model.compare(dense);
        }
    }
    let input = decoder.checkpoint();
    let model = ModelFacts {
        path: run.plan.model.clone(),
        hub: HubModel::of_directory(input.dir()),
        family: run.spec.family.into(),
        architecture: input.config_json()?["architectures"][0].as_str().map(String::from),
        prunable: record.matrices.iter().map(|facts| facts.shape[0] * facts.shape[1]).sum(),
        zeros,
        target: run.targets.zeros().0,
        bytes: input.total_bytes(),
        fingerprint,
    };
    // it may be a report of something else, under the same name
    let earlier = Summary::read(input.dir()).unwrap_or_else(|error| {
        job.warn(format!("how the input was made is not told in report and card: {error}"));
        None
    });
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").into(),
        plan: run.plan.resolved(run.spec)?,
        calibrated: run.is_calibrated(),
        model,
        shrunk,
        earlier: earlier.map(Summary::into_runs).unwrap_or_default(),
        evaluation,
        matrices: record.matrices,
        windows: record.windows,
        timings: job.timings,
        seconds,
        peak_memory: peak_memory(),
        warnings: job.warnings,
    })
}

/// Adds report, plan and cards to the weights, and gives everything its name.
pub(super) fn publish(output: Output, report: &Report, (out, input): (&Path, &Path)) -> Result<()> {
    let base = base_cards(input)?;
    let text = base.iter().find(|(name, _)| name == BASE_CARD).map(|(_, card)| String::from_utf8_lossy(card));
    let card = card(&name_of(out), &Summary::from(report), text.as_deref());
    let (json, plan) = (json(report)?, report.plan.to_toml()?);
    let own = [(Summary::FILE, json.as_slice()), ("plan.toml", plan.as_bytes()), (CARD, card.as_bytes())];
    let kept = base.iter().map(|(name, card)| (name.as_str(), card.as_slice()));
    output.publish(&own.into_iter().chain(kept).collect::<Vec<_>>())
}

fn json(report: &Report) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(report)
        .map_err(|error| Error::Numeric { problem: format!("the report has no JSON form: {error}"), hint: None })
}
