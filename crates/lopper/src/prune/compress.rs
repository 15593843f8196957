//! Window by window: statistics, masks, compensation, reconstruction, and the hidden states moved on.

use std::collections::BTreeSet;

use candle_core::Tensor;

use crate::autograd::{RotaryTable, Tape};
use crate::calibration::{InputStatistics, Needs, SeenInputs, StatisticsTap};
use crate::checkpoint::Rewrite;
use crate::error::Result;
use crate::method::{LayerProblem, Method, SolutionFacts, to_vec};
use crate::model::{Decoder, LinearId, LinearRole, Part, Sequences};
use crate::plan::{Allocation, Plan};
use crate::progress::Event;
use crate::report::{MatrixFacts, Stage, WindowFacts};
use crate::schedule::{Schedule, Step, batch};
use crate::sparsity::Pattern;
use crate::tensor;

use super::block_state::{BlockState, layer_seed};
use super::job::Job;
use super::journal::Journal;
use super::streams::Streams;

/// What was done.
#[derive(Default)]
pub(super) struct Record {
    pub matrices: Vec<MatrixFacts>,
    pub windows: Vec<WindowFacts>,
    /// Names of the tensors written anew.
    pub replaced: BTreeSet<String>,
}

/// Prunes every block by `plan`, each matrix to the pattern it was allocated, and writes it; but for those that the journal has.
pub(super) fn compress(
    job: &mut Job,
    plan: &Plan,
    allocation: &Allocation,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
    journal: &mut Journal,
) -> Result<Record> {
    let schedule = Schedule::new(plan)?;
    let blocks = decoder.spec().blocks;
    if journal.blocks() >= blocks {
        return Ok(journal.record(allocation));
    }
    let mut run = Compression::new(job, (plan, allocation), decoder, &schedule, (journal, &mut *rewrite))?;
    let stage = format!("pruning {blocks} blocks");
    run.job.observer.event(Event::Stage { name: &stage });
    let span = schedule.granularity.span().min(blocks).max(1);
    for first in (journal.blocks()..blocks).step_by(span) {
        run.window(first, &schedule.steps(span.min(blocks - first)), rewrite)?;
        let done = (first + span).min(blocks);
        let read = run.streams.as_ref().filter(|_| done < blocks);
        let dense = read.and_then(|streams| streams.dense.as_ref()).filter(|_| !schedule.restarts());
        journal.window(run.job, &run.record, done, [read.map(|streams| &streams.inputs), dense], rewrite)?;
        run.job.observer.event(Event::Progress(done as f64 / blocks as f64));
    }
    Ok(run.record)
}

/// A run on its way through the model.
pub(super) struct Compression<'j, 'o> {
    pub job: &'j mut Job<'o>,
    pub plan: &'j Plan,
    allocation: &'j Allocation,
    pub decoder: &'j Decoder,
    method: Method,
    pub schedule: &'j Schedule,
    pub streams: Option<Streams>,
    pub rotary: RotaryTable,
    pub record: Record,
}

impl<'j, 'o> Compression<'j, 'o> {
    fn new(
        job: &'j mut Job<'o>,
        (plan, allocation): (&'j Plan, &'j Allocation),
        decoder: &'j Decoder,
        schedule: &'j Schedule,
        (journal, rewrite): (&Journal, &mut Rewrite),
    ) -> Result<Self> {
        let keeps_dense = schedule.dense_stream && !schedule.restarts();
        let kept = journal.states([schedule.calibrates, keeps_dense], decoder, job)?;
        let embed = || schedule.calibrates.then(|| Streams::embed(job, plan, decoder, keeps_dense)).transpose();
        let (from, streams) = match kept {
            Some((blocks, [inputs, dense])) => (blocks, inputs.map(|inputs| Streams::new(inputs, dense))),
            None => (0, embed()?),
        };
        let catch_up =
            |streams: Streams| streams.after(from..journal.blocks(), job, plan, (decoder, rewrite), schedule);
        let streams = streams.map(catch_up).transpose()?;
        let rotary = decoder.rotary(plan.calibration_seqlen(decoder.spec()))?;
        Ok(Self {
            method: plan.method()?,
            streams,
            schedule,
            job,
            plan,
            allocation,
            decoder,
            rotary,
            record: journal.record(allocation),
        })
    }

    /// The steps of a window that begins with this block.
    fn window(&mut self, first: usize, steps: &[Step], rewrite: &mut Rewrite) -> Result<()> {
        let mut states: Vec<BlockState> = Vec::new();
        for step in steps {
            match step {
                Step::Prune(block, parts) => {
                    if *block == states.len() {
                        // what windows should give has passed through the dense blocks before
                        states.iter_mut().for_each(BlockState::forget_dense);
                        states.push(BlockState::load(self.decoder, first + block)?);
                        self.decoder.prefetch_block(first + block + 1);
                    }
                    self.prune(&mut states[*block], parts)?;
                }
                Step::Restart => self.restart(),
                Step::Teach((block, part)) => self.teach(&states[*block], *part)?,
                Step::Preview((block, part)) => self.preview(&states[*block], *part)?,
                Step::Reconstruct(trained) => {
                    if states.len() > 1 {
                        states.iter_mut().for_each(BlockState::forget_dense);
                    }
                    self.reconstruct(&mut states, trained)?;
                }
                Step::Advance((block, part)) => self.advance(&mut states[*block], *part)?,
            }
        }
        states.iter().try_for_each(|state| self.store(state, rewrite))
    }

    /// Sequences per forward pass.
    pub fn batch(&self) -> usize {
        batch(self.plan.calibration_seqlen(self.decoder.spec()))
    }

    fn prune(&mut self, state: &mut BlockState, parts: &[Part]) -> Result<()> {
        if let Some(streams) = self.streams.take() {
            self.streams = Some(self.calibrate(streams, state, parts)?);
        }
        for role in LinearRole::ALL.into_iter().filter(|role| parts.contains(&role.part())) {
            self.prune_layer(state, role)?;
        }
        Ok(())
    }

    /// Shows the dense weights of `parts` the inputs at hand.
    fn calibrate(&mut self, mut streams: Streams, state: &mut BlockState, parts: &[Part]) -> Result<Streams> {
        let keep_outputs = self.schedule.dense_inputs;
        if self.schedule.needs == Needs::Nothing && !keep_outputs {
            return Ok(streams);
        }
        let (batch, precision, train) =
            (self.batch(), self.plan.compute.dtype.precision(), self.plan.calibration.samples);
        let mut tap = StatisticsTap::new(self.schedule.needs);
        let mut next = keep_outputs.then(|| streams.inputs.clone());
        let (rotary, dense) = (&self.rotary, &state.dense);
        let forward = |x: &Tensor, sequences: &Sequences| {
            let (mut y, mut seen) = (x.into(), SeenInputs::default());
            for &part in parts {
                let mut tape = Tape::inference(precision);
                y = dense.forward_part(part, &mut tape, &y, sequences, rotary, &mut seen)?;
            }
            Ok((y, seen))
        };
        self.job.timings.measure(Stage::Calibrate, || {
            streams.inputs.for_each(batch, forward, |indices, sequences, (y, seen)| {
                let counted = indices.iter().filter(|&&index| index < train).count();
                tap.limit(sequences.offsets()[counted]);
                seen.show(&mut tap)?;
                next.as_mut().map_or(Ok(()), |next| next.set(indices, sequences, y.tensor()))
            })
        })?;
        state.statistics.extend(tap.finish(self.plan.pruning.damping));
        streams.next = next;
        Ok(streams)
    }

    /// Prunes and repairs one matrix, unless it stays dense.
    fn prune_layer(&mut self, state: &mut BlockState, role: LinearRole) -> Result<()> {
        let id = LinearId { block: state.index, role };
        let Some(&pattern) = self.allocation.get(id) else {
            self.record_matrix(id, None, 0, SolutionFacts::default());
            return Ok(());
        };
        let (d_out, d_in) = self.decoder.spec().shape(role);
        let weight = tensor::Tensor::new([d_out, d_in], to_vec(&state.dense.linear(role).weight)?);
        let unseen = InputStatistics::unseen(d_in);
        let problem = LayerProblem {
            weight: &weight,
            inputs: state.inputs_of(role).unwrap_or(&unseen),
            pattern: &pattern,
            seed: layer_seed(self.plan.calibration.seed, id),
            settings: self.plan.solver_settings(),
        };
        let method = &self.method;
        let solution = self.job.timings.measure(Stage::Solve, || method.solve(&problem))?;
        if let Some(warning) = &solution.facts.warning {
            self.job.warn(format!("{}: {warning}", Decoder::weight_name(id)));
        }
        self.record_matrix(id, Some(pattern), solution.mask.pruned(), solution.facts);
        state.pruned.linear_mut(role).weight =
            Tensor::from_vec(solution.weight.into_vec(), (d_out, d_in), self.decoder.device())?;
        state.masks.insert(role, solution.mask);
        Ok(())
    }

    fn record_matrix(&mut self, id: LinearId, pattern: Option<Pattern>, pruned: usize, solution: SolutionFacts) {
        let (d_out, d_in) = self.decoder.spec().shape(id.role);
        self.record.matrices.push(MatrixFacts {
            name: Decoder::weight_name(id),
            block: id.block,
            role: id.role,
            shape: [d_out, d_in],
            pattern,
            sparsity: pruned as f64 / (d_out * d_in) as f64,
            solution,
            error_reconstructed: None,
        });
    }

    /// Writes what was pruned, and what was trained beside it.
    fn store(&mut self, state: &BlockState, rewrite: &mut Rewrite) -> Result<()> {
        let tensors = state.changed(!self.record.windows.is_empty());
        self.job
            .timings
            .measure(Stage::Write, || tensors.iter().try_for_each(|(name, tensor)| rewrite.put(name, tensor)))?;
        self.record.replaced.extend(tensors.into_iter().map(|(name, _)| name));
        Ok(())
    }
}
