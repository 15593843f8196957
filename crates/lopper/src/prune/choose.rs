//! Which blocks go, where the plan only says how many: those in a row that turn the states of the calibration text least (Gromov et al.
//! 2024, arXiv 2403.17887; of one block, the block influence of ShortGPT, arXiv 2403.03853).

use std::collections::{BTreeMap, VecDeque};

use super::choose_experts::experts;
use super::job::Job;
use super::states::Passage;
use crate::calibration::{HiddenStates, looked_at};
use crate::error::{Error, Result};
use crate::model::{Decoder, Omitted, shortened};
use crate::plan::{Depth, Plan};
use crate::progress::Event;
use crate::report::Stage;

/// What goes of a whole model: blocks, and experts.
///
/// # Errors
/// If no config.json describes what stays.
pub(super) fn omitted(job: &mut Job, plan: &Plan, model: &Decoder) -> Result<Omitted> {
    let blocks = gone(job, plan, model)?;
    let experts = match plan.experts(model.spec())? {
        Some(keep) => experts(job, plan, model, (&blocks, keep))?,
        None => BTreeMap::new(),
    };
    Ok(Omitted { blocks, experts })
}

/// The numbers of the blocks that go.
///
/// # Errors
/// If no config.json describes what stays, whichever they are.
fn gone(job: &mut Job, plan: &Plan, model: &Decoder) -> Result<Vec<usize>> {
    let count = match plan.depth(model.spec())? {
        None => return Ok(Vec::new()),
        Some(Depth::Named(numbers)) => return Ok(numbers),
        Some(Depth::Chosen(count)) => count,
    };
    let span = |first: usize| (first..first + count).collect::<Vec<_>>();
    let (path, config) = (model.checkpoint().dir().join("config.json"), model.checkpoint().config_json()?);
    let last = model.spec().blocks.len() - count;
    let mut starts: Vec<usize> = (1..=last).filter(|&first| shortened(&path, &config, &span(first)).is_ok()).collect();
    if starts.is_empty() {
        shortened(&path, &config, &span(last))?;
    }
    let influence = influence(job, plan, model, count)?;
    starts.sort_by(|&one, &other| influence[one].total_cmp(&influence[other]));
    let first = starts.first().copied().unwrap_or(last);
    let next = starts.get(1).map_or_else(String::new, |&next| format!(", the next least {:.4}", influence[next]));
    let (end, least) = (first + count - 1, influence[first]);
    job.observer.event(Event::Detail(&format!("blocks {first} to {end} go: their influence is {least:.4}{next}")));
    Ok(span(first))
}

/// One less the mean cosine between the states before and after `count` blocks, by the first of them.
fn influence(job: &mut Job, plan: &Plan, model: &Decoder, count: usize) -> Result<Vec<f64>> {
    job.observer.event(Event::Stage { name: "choosing the blocks that go" });
    let passage = Passage::new(plan, model);
    let seen = looked_at(job.samples[0].len(), plan.calibration.samples);
    let mut states = HiddenStates::embed(model, &job.samples[..seen], plan.compute.hidden_states, &job.storage)?;
    let (mut before, mut influence) = (VecDeque::new(), Vec::new());
    let blocks = model.spec().blocks.len();
    for index in 0..blocks {
        before.push_back(states.clone());
        let block = model.load_block(index)?;
        model.prefetch_block(index + 1);
        job.timings.measure(Stage::Calibrate, || passage.whole_block(&mut states, &block))?;
        if before.len() == count {
            let first = before.pop_front().unwrap_or_else(|| states.clone());
            influence.push(1.0 - cosine(&first, &states)?);
        }
        job.observer.event(Event::Progress((index + 1) as f64 / blocks as f64));
    }
    Ok(influence)
}

/// The mean cosine between the states of each token.
fn cosine(one: &HiddenStates, other: &HiddenStates) -> Result<f64> {
    let (mut sum, mut tokens) = (0.0, 0);
    for sequence in 0..one.len() {
        let [(a, _), (b, _)] = [one.batch(&[sequence])?, other.batch(&[sequence])?];
        for (a, b) in a.host().chunks_exact(a.width()).zip(b.host().chunks_exact(b.width())) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let norm = (dot(a, a) * dot(b, b)).sqrt();
            sum += if norm > 0.0 { dot(a, b) / norm } else { 1.0 };
            tokens += 1;
        }
    }
    let mean = sum / f64::from(tokens.max(1));
    if mean.is_finite() {
        return Ok(mean);
    }
    Err(Error::Numeric { problem: "states of the dense model are not finite".into(), hint: None })
}
