//! Windows of the schedule as windows of the training loop, and what is said of them.

use lopper_kernels::Precision;

use super::block_state::BlockState;
use super::job::Job;
use super::record::Record;
use crate::autograd::RotaryTable;
use crate::calibration::HiddenStates;
use crate::error::Result;
use crate::method::OutputError;
use crate::model::{BranchId, Decoder, DecoderSpec, LinearId};
use crate::progress::{Event, Observer};
use crate::reconstruction::{Epoch, Layers, Matching, Outcome, Segment, Settings, Window, WindowData, reconstruct};
use crate::report::{MatrixFacts, Stage, WindowFacts};
use crate::schedule::Run;

/// What a window trains with.
pub(super) struct Training<'a> {
    pub run: &'a Run<'a>,
    pub decoder: &'a Decoder,
    pub rotary: &'a [RotaryTable],
    pub inputs: &'a HiddenStates,
    pub targets: &'a HiddenStates,
}

impl Training<'_> {
    /// Settings with a seed of the window's own.
    fn settings(&self, branch: BranchId, linear: u64) -> Settings {
        let place = (self.decoder.spec().branch_number(branch) as u64) << 32 | linear << 24;
        let seed = self.run.plan.calibration.seed.wrapping_add(place);
        let precision: Precision = self.run.plan.compute.dtype.precision();
        self.run.plan.reconstruction.settings(precision, seed)
    }

    fn reconstruct(&self, window: &mut Window, settings: &Settings, watch: &mut dyn FnMut(Epoch)) -> Result<Outcome> {
        let objective = Matching { targets: self.targets, loss: self.run.plan.reconstruction.loss };
        let data = WindowData { inputs: self.inputs, objective: &objective, train: self.run.plan.calibration.samples };
        reconstruct(window, &data, settings, watch)
    }
}

/// Trains branches of the blocks at hand together.
pub(super) fn train_branches(
    job: &mut Job,
    training: &Training,
    blocks: &mut [BlockState],
    branches: &[BranchId],
    record: &mut Record,
) -> Result<()> {
    let first = blocks[0].index;
    let name = name(training.decoder.spec(), blocks, branches);
    let settings = training.settings(branches[0], 0);
    let segments = blocks.iter_mut().filter_map(|block| {
        let own: Vec<BranchId> = branches.iter().copied().filter(|branch| branch.at.block == block.index).collect();
        let stages = own.first()?.at.stage..own.last()?.at.stage + 1;
        let trained = own.into_iter().filter(|&branch| block.is_pruned(branch)).collect();
        let BlockState { pruned, masks, .. } = block;
        Some(Segment { block: pruned, layers: Layers::Stages(stages, trained), masks })
    });
    let drifts = branches.iter().any(|branch| training.run.drifting.contains(&branch.at));
    let mut window = Window { segments: segments.collect(), rotary: training.rotary, drifts };
    let Job { timings, observer, .. } = job;
    let outcome = timings.measure(Stage::Reconstruct, || {
        training.reconstruct(&mut window, &settings, &mut |epoch| {
            // the epochs of a larger window are long
            if branches.len() > 2 {
                report_epoch(*observer, &name, epoch);
            }
        })
    })?;
    note(job, record, name, first, outcome);
    if let [block] = blocks {
        for &branch in branches {
            for linear in block.pruned.spec.branch(branch).linears.clone() {
                measure_error(training.decoder, block, linear, record)?;
            }
        }
    }
    Ok(())
}

/// Trains one linear layer against its own output.
pub(super) fn train_linear(
    job: &mut Job,
    training: &Training,
    block: &mut BlockState,
    (branch, linear): (BranchId, usize),
    record: &mut Record,
) -> Result<()> {
    let settings = training.settings(branch, linear as u64);
    let name = training.decoder.spec().weight_name(LinearId { block: block.index, index: linear });
    let BlockState { pruned, masks, .. } = block;
    let segments = vec![Segment { block: pruned, layers: Layers::Linear(linear), masks }];
    let drifts = training.run.drifting.contains(&branch.at);
    let mut window = Window { segments, rotary: training.rotary, drifts };
    let outcome =
        job.timings.measure(Stage::Reconstruct, || training.reconstruct(&mut window, &settings, &mut |_| ()))?;
    note(job, record, name, block.index, outcome);
    measure_error(training.decoder, block, linear, record)
}

/// Keeps what became of a window for the report.
fn note(job: &mut Job, record: &mut Record, window: String, block: usize, outcome: Outcome) {
    report_window(job, &window, &outcome);
    record.windows.push(WindowFacts { window, block, outcome });
}

/// What training did to the error of a matrix on the inputs it was pruned with.
fn measure_error(decoder: &Decoder, block: &BlockState, linear: usize, record: &mut Record) -> Result<()> {
    let id = LinearId { block: block.index, index: linear };
    let name = decoder.spec().weight_name(id);
    let known = |facts: &&mut MatrixFacts| facts.name == name && facts.pattern.is_some();
    let Some(facts) = record.matrices.iter_mut().find(known) else { return Ok(()) };
    if let Some(gram) = block.inputs_of(linear).and_then(|inputs| inputs.gram.as_ref()) {
        let dense = decoder.load_weight(id)?;
        let error = OutputError::new(&dense, gram).relative(block.pruned.weight(linear));
        facts.error_reconstructed = Some(error);
    }
    Ok(())
}

/// A line after an epoch of a window whose epochs are long.
pub(super) fn report_epoch(observer: &mut (dyn Observer + Send), window: &str, epoch: Epoch) {
    let held_out = epoch.held_out.map_or_else(String::new, |error| format!(", held out {error:.3e}"));
    let Epoch { number, of, loss, speed, .. } = epoch;
    observer.event(Event::Detail(&format!(
        "{window}: epoch {number} of {of}, loss {loss:.3}{held_out}, {speed:.0} tokens/s"
    )));
}

/// What became of a window; a warning if its training was undone.
pub(super) fn report_window(job: &mut Job, window: &str, outcome: &Outcome) {
    if let Some(loss) = outcome.losses.last() {
        let (epochs, speed) = (outcome.losses.len(), outcome.tokens_per_second);
        let held_out = outcome.held_out_before.zip(outcome.held_out_after);
        let held_out =
            held_out.map_or_else(String::new, |(before, after)| format!(", held-out error {before:.3e} → {after:.3e}"));
        let share = outcome.share;
        let line = format!(
            "{window}: {epochs} epochs, loss {loss:.3}{held_out} at {share:.2} of the way, {speed:.0} tokens/s"
        );
        job.observer.event(Event::Detail(&line));
    }
    if outcome.restored == 0 {
        return;
    }
    let then = if outcome.losses.is_empty() { "given up" } else { "repeated at a lower rate" };
    let times = outcome.restored;
    job.warn(format!("{window}: training made held-out error worse, was undone {times} times and {then}"));
}

/// What a window is called.
fn name(spec: &DecoderSpec, blocks: &[BlockState], branches: &[BranchId]) -> String {
    let [first, last] = [&blocks[0], &blocks[blocks.len() - 1]].map(|block| spec.number(block.index));
    match branches {
        &[branch] => format!("block {first} {}", blocks[0].pruned.spec.branch(branch).name),
        _ if first == last => format!("block {first}"),
        _ => format!("blocks {first} to {last}"),
    }
}
