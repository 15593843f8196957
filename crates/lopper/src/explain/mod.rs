//! What a run will take, from plan and model alone: bytes by phase and floating-point operations by stage. Pure functions
//! that mirror what `prune` allocates and multiplies; elementwise work is not counted.

mod budget;
mod choosing;
mod memory;
mod rate;
mod shrunk;
mod steps;
mod training;
mod work;

use std::path::PathBuf;

use serde::Serialize;

use crate::calibration::looked_at;
use crate::model::{BlockSpec, Branch, DecoderSpec};
use crate::plan::{Granularity, Plan};
use crate::schedule::{Run, Schedule};
use crate::text::{all_files, at_once, bytes_for};

pub use budget::Budget;
pub use memory::{Item, Phase};
pub use rate::Rate;
pub use shrunk::shrunk;
pub use work::Work;

/// What a run will take.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// What is in memory in each phase.
    pub phases: Vec<Phase>,
    /// What is computed in each stage.
    pub work: Vec<Work>,
    /// Bytes of hidden states and copies that wait on the disk; 0 where they are in memory.
    pub scratch: u64,
}

/// Bytes of text of a byte that is packed, roughly.
const GROWTH: u64 = 4;

/// What is known of the texts before anything runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Tokens that are scored for each model: see [`scored_tokens`].
    pub scored_tokens: usize,
    /// Bytes of text that windows are chosen from, or that is scored.
    pub kept_bytes: u64,
    /// Bytes of text that the tokenizer has at one time.
    pub tokenised_bytes: u64,
}

impl Texts {
    /// Of a plan whose texts have these lengths in tokens.
    pub fn of(plan: &Plan, spec: &DecoderSpec, lengths: &[usize]) -> Self {
        let (calibration, evaluation) = (&plan.calibration, &plan.evaluation);
        let asked = plan.calibration_seqlen(spec).saturating_mul(calibration.samples + calibration.held_out);
        let [drawn, scored] = [[&calibration.files, &calibration.wikitext], [&evaluation.texts, &evaluation.wikitext]]
            .map(|files| text_bytes(files.into_iter().flatten()));
        let kept_bytes = drawn.min(bytes_for(asked) as u64).max(scored);
        let threads = plan.compute.threads.unwrap_or_else(rayon::current_num_threads);
        let scored_tokens = scored_tokens(plan, spec, lengths);
        Self { scored_tokens, kept_bytes, tokenised_bytes: kept_bytes.min(at_once(threads)) }
    }
}

/// Bytes of text in files, as far as their names and sizes tell; what cannot be found is an error of the run.
fn text_bytes<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> u64 {
    let of = |file: PathBuf| {
        let bytes = std::fs::metadata(&file).map_or(0, |facts| facts.len());
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let is_packed = ending.is_some_and(|ending| ["gz", "zst", "parquet"].contains(&ending.as_str()));
        if is_packed { GROWTH * bytes } else { bytes }
    };
    all_files(paths).unwrap_or_default().into_iter().map(of).sum()
}

impl Estimate {
    /// Estimates a run with so many bytes of memory: hidden states wait on the disk where they would not fit, and where it helps.
    pub fn new(run: &Run, texts: Texts, memory: Option<u64>) -> Self {
        let (mut sizes, fits) = (Sizes::new(run), |bytes| memory.is_none_or(|memory| bytes <= memory));
        let mut phases = sizes.phases(texts);
        if !fits(peak(&phases)) {
            sizes.on_disk = true;
            phases = sizes.phases(texts);
        }
        let scratch = if sizes.on_disk { sizes.scratch() } else { 0 };
        Self { phases, work: sizes.work(texts.scored_tokens), scratch }
    }

    /// Bytes of the phase that needs most.
    pub fn peak(&self) -> u64 {
        peak(&self.phases)
    }

    /// Operations of all stages.
    pub fn flops(&self) -> f64 {
        self.work.iter().map(|work| work.flops).sum()
    }
}

fn peak(phases: &[Phase]) -> u64 {
    phases.iter().map(Phase::bytes).max().unwrap_or(0)
}

/// Tokens that one evaluation of the plan scores, given the length of each text in tokens.
pub fn scored_tokens(plan: &Plan, spec: &DecoderSpec, texts: &[usize]) -> usize {
    if texts.is_empty() {
        // tasks are not counted
        let held_out = if plan.evaluation.tasks.is_empty() { plan.calibration.held_out } else { 0 };
        return held_out * plan.calibration_seqlen(spec);
    }
    let length = plan.evaluation_seqlen(spec).max(1);
    texts.iter().map(|tokens| length * (tokens / length).min(plan.evaluation.windows.unwrap_or(usize::MAX))).sum()
}

/// The sizes that the formulas are made of, as wide integers.
struct Sizes<'a> {
    run: &'a Run<'a>,
    plan: &'a Plan,
    spec: &'a DecoderSpec,
    schedule: &'a Schedule<'a>,
    /// Tokens per calibration sequence.
    seqlen: usize,
    /// Calibration sequences, held-out ones included.
    sequences: usize,
    /// Whether hidden states wait on the disk.
    on_disk: bool,
}

impl<'a> Sizes<'a> {
    fn new(run: &'a Run<'a>) -> Self {
        let (plan, spec) = (&run.plan, run.spec);
        let sequences = plan.calibration.samples + plan.calibration.held_out;
        Self { run, plan, spec, schedule: &run.schedule, seqlen: run.seqlen(), sequences, on_disk: false }
    }

    fn trains(&self) -> bool {
        self.plan.reconstruction.granularity != Granularity::None
    }

    /// Tokens of all calibration sequences, and of those that train.
    fn tokens(&self) -> [usize; 2] {
        [self.sequences, self.plan.calibration.samples].map(|count| count * self.seqlen)
    }

    /// Tokens that blocks are chosen by.
    fn looked_at(&self) -> usize {
        looked_at(self.seqlen, self.plan.calibration.samples) * self.seqlen
    }

    /// Every branch of every block.
    fn branches(&self) -> impl Iterator<Item = (&'a BlockSpec, &'a Branch)> {
        let blocks = self.spec.blocks.iter().map(|block| &**block);
        blocks
            .flat_map(|block| block.stages.iter().flat_map(|stage| &stage.branches).map(move |branch| (block, branch)))
    }

    /// The largest value that `of` has for any branch.
    fn most<T: PartialOrd + Default>(&self, of: impl Fn(&BlockSpec, &Branch) -> T) -> T {
        self.branches()
            .map(|(block, branch)| of(block, branch))
            .fold(T::default(), |most, x| if x > most { x } else { most })
    }
}

#[cfg(test)]
mod tests;
