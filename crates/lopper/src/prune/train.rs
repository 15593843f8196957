//! Windows of the schedule as windows of the training loop, and what is told of them.

use candle_core::Tensor;

use crate::autograd::Tape;
use crate::calibration::HiddenStates;
use crate::error::Result;
use crate::method::{OutputError, to_vec};
use crate::model::{Decoder, Linear, LinearId, LinearRole, Part, Sequences};
use crate::progress::{Event, Observer};
use crate::reconstruction::{Epoch, Layers, Matching, Outcome, Segment, Settings, Window, WindowData, reconstruct};
use crate::report::{MatrixFacts, Stage, WindowFacts};
use crate::schedule::{Half, Trained};

use super::block_state::BlockState;
use super::compress::Compression;
use super::job::Job;
use super::streams::{Captured, Streams};

impl Compression<'_, '_> {
    pub fn reconstruct(&mut self, states: &mut [BlockState], trained: &Trained) -> Result<()> {
        match trained {
            Trained::Matrix(role) => self.matrix(&mut states[0], *role),
            Trained::Halves(halves) => self.halves(states, halves),
        }
    }

    fn halves(&mut self, states: &mut [BlockState], halves: &[Half]) -> Result<()> {
        if !halves.iter().any(|&(block, part)| states[block].is_pruned(part)) {
            return Ok(());
        }
        let Some(streams) = self.streams.take() else { return Ok(()) };
        let Some(targets) = streams.dense.as_ref().or(streams.next.as_ref()) else { return Ok(()) };
        for &(block, part) in halves {
            states[block].forget_dense_half(part);
        }
        let name = name(states, halves);
        let settings = self.settings(states[0].index, halves[0].1, 0);
        let parts: Vec<Vec<Part>> = (0..states.len())
            .map(|block| halves.iter().filter(|half| half.0 == block).map(|half| half.1).collect())
            .collect();
        let segments = states.iter_mut().zip(&parts).map(|(state, parts)| {
            let BlockState { pruned, masks, .. } = state;
            Segment { layers: Layers::Halves(pruned, parts), masks }
        });
        let mut window = Window { segments: segments.collect(), rotary: &self.rotary };
        let objective = Matching { targets, loss: self.plan.reconstruction.loss };
        let inputs = streams.start.as_ref().unwrap_or(&streams.inputs);
        let data = WindowData { inputs, objective: &objective, train: self.plan.calibration.samples };
        let outcome = self.job.timings.measure(Stage::Reconstruct, || {
            reconstruct(&mut window, &data, &settings, &mut |epoch| {
                if halves.len() > 2 {
                    tell(self.job.observer, &name, epoch);
                }
            })
        })?;
        self.streams = Some(streams);
        self.note(name, states[0].index, outcome);
        let [state] = states else { return Ok(()) };
        for &(_, part) in halves {
            self.record_errors(state, |role| role.part() == part)?;
            state.forget_inputs(part);
        }
        Ok(())
    }

    /// One matrix against its own output.
    fn matrix(&mut self, state: &mut BlockState, role: LinearRole) -> Result<()> {
        let Some(mask) = state.masks.get(&role).cloned() else { return Ok(()) };
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        let first = BlockState::first_reader(role);
        let captured = streams.captured.take().filter(|captured| captured.role == first);
        let captured = if let Some(captured) = captured { captured } else { self.captured(state, first, &streams)? };
        let of_target = captured.dense.as_ref().unwrap_or(&captured.inputs);
        let targets = self.apply(state.dense.linear(role), of_target)?;
        let objective = Matching { targets: &targets, loss: self.plan.reconstruction.loss };
        let data = WindowData { inputs: &captured.inputs, objective: &objective, train: self.plan.calibration.samples };
        let masks = [(role, mask)].into();
        let layers = Layers::Linear(state.pruned.linear_mut(role), role);
        let mut window = Window { segments: vec![Segment { layers, masks: &masks }], rotary: &self.rotary };
        let settings = self.settings(state.index, role.part(), role as u64);
        let name = Decoder::weight_name(LinearId { block: state.index, role });
        let outcome =
            self.job.timings.measure(Stage::Reconstruct, || reconstruct(&mut window, &data, &settings, &mut |_| ()))?;
        streams.captured = Some(captured);
        self.streams = Some(streams);
        self.note(name, state.index, outcome);
        self.record_errors(state, |other| other == role)
    }

    /// What the layers that read with `role` are shown.
    fn captured(&mut self, state: &BlockState, role: LinearRole, streams: &Streams) -> Result<Captured> {
        let shown = if self.schedule.dense_inputs { &state.dense } else { &state.pruned };
        let inputs = self.capture(shown, role, &streams.inputs)?;
        let dense = streams.dense.as_ref().map(|dense| self.capture(&state.dense, role, dense)).transpose()?;
        Ok(Captured { role, inputs, dense })
    }

    /// The outputs of a linear layer.
    fn apply(&mut self, linear: &Linear, inputs: &HiddenStates) -> Result<HiddenStates> {
        let (batch, precision) = (self.batch(), self.plan.compute.dtype.precision());
        let mut outputs = inputs.with_width(linear.weight.dim(0)?);
        self.job.timings.measure(Stage::Advance, || {
            let forward = |x: &Tensor, _: &Sequences| {
                Ok(linear.forward(&mut Tape::inference(precision), &x.into(), None)?.tensor().clone())
            };
            inputs.for_each(batch, forward, |indices, sequences, y| outputs.set(indices, sequences, &y))
        })?;
        Ok(outputs)
    }

    /// Settings with a seed of the window's own.
    fn settings(&self, block: usize, part: Part, matrix: u64) -> Settings {
        let place = ((2 * block + part as usize) as u64) << 32 | matrix << 24;
        let seed = self.plan.calibration.seed.wrapping_add(place);
        self.plan.reconstruction.settings(self.plan.compute.dtype.precision(), seed)
    }

    /// Keeps what became of a window for the report.
    fn note(&mut self, window: String, block: usize, outcome: Outcome) {
        told(self.job, &window, &outcome);
        self.record.windows.push(WindowFacts { window, block, outcome });
    }

    /// What reconstruction did to the error of some matrices on the inputs they were pruned with.
    fn record_errors(&mut self, state: &BlockState, of: impl Fn(LinearRole) -> bool) -> Result<()> {
        let chosen = |facts: &&mut MatrixFacts| facts.block == state.index && of(facts.role);
        for facts in self.record.matrices.iter_mut().filter(chosen).filter(|facts| facts.pattern.is_some()) {
            let Some(gram) = state.inputs_of(facts.role).and_then(|inputs| inputs.gram.as_ref()) else { continue };
            let dense = to_vec(&self.decoder.load_weight(LinearId { block: facts.block, role: facts.role })?)?;
            let pruned = to_vec(&state.pruned.linear(facts.role).weight)?;
            let [dense, pruned] = [dense, pruned].map(|weight| crate::tensor::Tensor::new(facts.shape, weight));
            facts.error_reconstructed = Some(OutputError::new(&dense, gram).relative(&pruned));
        }
        Ok(())
    }
}

/// A line after an epoch of a window whose epochs are long.
pub(super) fn tell(observer: &mut (dyn Observer + Send), window: &str, epoch: Epoch) {
    let held_out = epoch.held_out.map_or_else(String::new, |error| format!(", held out {error:.3e}"));
    let Epoch { number, of, loss, speed, .. } = epoch;
    observer.event(Event::Detail(&format!(
        "{window}: epoch {number} of {of}, loss {loss:.3}{held_out}, {speed:.0} tokens/s"
    )));
}

/// What became of a window; a warning if its training was undone.
pub(super) fn told(job: &mut Job, window: &str, outcome: &Outcome) {
    if let Some(loss) = outcome.losses.last() {
        let (epochs, speed) = (outcome.losses.len(), outcome.tokens_per_second);
        let held_out = outcome.held_out_before.zip(outcome.held_out_after);
        let held_out =
            held_out.map_or_else(String::new, |(before, after)| format!(", held-out error {before:.3e} → {after:.3e}"));
        let line = format!("{window}: {epochs} epochs, loss {loss:.3}{held_out}, {speed:.0} tokens/s");
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
fn name(states: &[BlockState], halves: &[Half]) -> String {
    let (first, last) = (states[0].index, states[states.len() - 1].index);
    match halves {
        [(_, part)] => format!("block {first} {part}"),
        _ if first == last => format!("block {first}"),
        _ => format!("blocks {first} to {last}"),
    }
}
