//! Block by block: statistics, masks, compensation, reconstruction, and the hidden states moved on.

use std::collections::BTreeSet;

use candle_core::Tensor;

use crate::autograd::{RotaryTable, Tape};
use crate::calibration::{HiddenStates, InputStatistics, Needs, SeenInputs, StatisticsTap};
use crate::checkpoint::Rewrite;
use crate::error::{Error, Result};
use crate::method::{LayerProblem, OutputError, SelectThenRepair, SolutionFacts, to_vec};
use crate::model::{Block, Decoder, LinearId, LinearRole, NoTap, Part, Sequences};
use crate::plan::{Allocation, Inputs, Plan};
use crate::progress::Event;
use crate::reconstruction::{Settings, Window, WindowData, reconstruct};
use crate::report::{MatrixFacts, Stage, WindowFacts};
use crate::schedule::{BATCH_TOKENS, Schedule, Step};
use crate::sparsity::Pattern;

use super::block_state::{BlockState, layer_seed};
use super::job::Job;

/// What was done.
#[derive(Default)]
pub(super) struct Record {
    pub matrices: Vec<MatrixFacts>,
    pub windows: Vec<WindowFacts>,
    /// Names of the tensors written anew.
    pub replaced: BTreeSet<String>,
}

/// Prunes every block by `plan`, each matrix to the pattern it was allocated, and writes it.
pub(super) fn compress(
    job: &mut Job,
    plan: &Plan,
    allocation: &Allocation,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
) -> Result<Record> {
    let schedule = Schedule::new(plan)?;
    let mut run = Compression::new(job, (plan, allocation), decoder, &schedule)?;
    let blocks = decoder.spec().blocks;
    let stage = format!("pruning {blocks} blocks");
    run.job.observer.event(Event::Stage { name: &stage });
    for index in 0..blocks {
        let mut state = BlockState::load(decoder, index)?;
        for step in &schedule.steps {
            match step {
                Step::Prune(parts) => run.prune(&mut state, parts)?,
                Step::Reconstruct(part) => run.reconstruct(&mut state, *part)?,
                Step::Advance(part) => run.advance(&mut state, *part)?,
            }
        }
        run.store(&state, rewrite)?;
        run.job.observer.event(Event::Progress((index + 1) as f64 / blocks as f64));
    }
    Ok(run.record)
}

/// Hidden states between the steps of a block.
struct Streams {
    /// What statistics and windows read.
    inputs: HiddenStates,
    /// The dense model's, when `inputs` are the pruned one's; they run ahead as targets.
    dense: Option<HiddenStates>,
    /// What the dense half at hand makes of `inputs`, when those are the dense model's.
    next: Option<HiddenStates>,
}

struct Compression<'j, 'o> {
    job: &'j mut Job<'o>,
    plan: &'j Plan,
    allocation: &'j Allocation,
    decoder: &'j Decoder,
    method: SelectThenRepair,
    needs: Needs,
    streams: Option<Streams>,
    rotary: RotaryTable,
    record: Record,
}

impl<'j, 'o> Compression<'j, 'o> {
    fn new(
        job: &'j mut Job<'o>,
        (plan, allocation): (&'j Plan, &'j Allocation),
        decoder: &'j Decoder,
        schedule: &Schedule,
    ) -> Result<Self> {
        let embed = |job: &Job| HiddenStates::embed(decoder, &job.samples, plan.compute.hidden_states);
        let streams = schedule.calibrates.then(|| {
            let inputs = embed(job)?;
            let dense = schedule.dense_stream.then(|| inputs.clone());
            Ok::<_, Error>(Streams { inputs, dense, next: None })
        });
        let rotary = decoder.rotary(plan.calibration_seqlen(decoder.spec()))?;
        Ok(Self {
            method: plan.method()?,
            streams: streams.transpose()?,
            needs: schedule.needs,
            job,
            plan,
            allocation,
            decoder,
            rotary,
            record: Record::default(),
        })
    }

    /// Sequences per forward pass.
    fn batch(&self) -> usize {
        (BATCH_TOKENS / self.plan.calibration_seqlen(self.decoder.spec())).max(1)
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
        let keep_outputs = self.plan.calibration.inputs == Inputs::Dense;
        if self.needs == Needs::Nothing && !keep_outputs {
            return Ok(streams);
        }
        let (batch, precision, train) =
            (self.batch(), self.plan.compute.dtype.precision(), self.plan.calibration.samples);
        let mut tap = StatisticsTap::new(self.needs);
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
        let weight = to_vec(&state.dense.linear(role).weight)?;
        let unseen = InputStatistics::unseen(d_in);
        let problem = LayerProblem {
            weight: &weight,
            columns: d_in,
            inputs: state.inputs_of(role).unwrap_or(&unseen),
            pattern: &pattern,
            seed: layer_seed(self.plan.calibration.seed, id),
            settings: self.plan.solver_settings(),
        };
        let method = &self.method;
        let solution = self.job.timings.measure(Stage::Solve, || method.solve(&problem));
        if let Some(warning) = &solution.facts.warning {
            self.job.warn(format!("{}: {warning}", Decoder::weight_name(id)));
        }
        self.record_matrix(id, Some(pattern), solution.mask.pruned(), solution.facts);
        state.pruned.linear_mut(role).weight = Tensor::from_vec(solution.weight, (d_out, d_in), self.decoder.device())?;
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

    fn reconstruct(&mut self, state: &mut BlockState, part: Part) -> Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        if let Some(dense) = &mut streams.dense {
            self.move_through(&state.dense, part, dense)?;
        }
        if !state.is_pruned(part) {
            self.streams = Some(streams);
            return Ok(());
        }
        let Some(targets) = streams.dense.as_ref().or(streams.next.as_ref()) else { return Ok(()) };
        let data = WindowData { inputs: &streams.inputs, targets, train: self.plan.calibration.samples };
        let mut window = Window { block: &mut state.pruned, parts: &[part], masks: &state.masks, rotary: &self.rotary };
        let settings = self.settings(state.index, part);
        let outcome = self.job.timings.measure(Stage::Reconstruct, || reconstruct(&mut window, &data, &settings))?;
        if let (Some(before), Some(after)) = (outcome.held_out_before, outcome.held_out_after) {
            let line = format!("block {} {part}: held-out error {before:.3e} → {after:.3e}", state.index);
            self.job.observer.event(Event::Detail(&line));
        }
        if outcome.restored > 0 {
            self.job.warn(format!(
                "block {} {part}: training made held-out error worse and was undone {} times",
                state.index, outcome.restored
            ));
        }
        self.record.windows.push(WindowFacts { block: state.index, part, outcome });
        self.streams = Some(streams);
        self.record_errors(state, part)
    }

    fn settings(&self, block: usize, part: Part) -> Settings {
        let plan = &self.plan.reconstruction;
        Settings {
            epochs: plan.epochs,
            batch: plan.batch,
            learning_rate: plan.learning_rate,
            warm_up: plan.warm_up,
            weight_decay: plan.weight_decay,
            train_norms: plan.train_norms,
            precision: self.plan.compute.dtype.precision(),
            seed: self.plan.calibration.seed.wrapping_add(((2 * block + part as usize) as u64) << 32),
        }
    }

    /// What reconstruction did to the error of each matrix on the inputs it was pruned with.
    fn record_errors(&mut self, state: &BlockState, part: Part) -> Result<()> {
        let of_part = |facts: &&mut MatrixFacts| facts.block == state.index && facts.role.part() == part;
        for facts in self.record.matrices.iter_mut().filter(of_part).filter(|facts| facts.pattern.is_some()) {
            let Some(gram) = state.inputs_of(facts.role).and_then(|inputs| inputs.gram.as_ref()) else { continue };
            let [dense, pruned] = [&state.dense, &state.pruned].map(|block| to_vec(&block.linear(facts.role).weight));
            facts.error_reconstructed = Some(OutputError::new(&dense?, gram).relative(&pruned?));
        }
        Ok(())
    }

    /// Rounds the half to what the files will hold, and moves the hidden states through it.
    fn advance(&mut self, state: &mut BlockState, part: Part) -> Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        if let Some(next) = streams.next.take() {
            streams.inputs = next;
        } else {
            state.round_to_storage(self.decoder, part)?;
            self.move_through(&state.pruned, part, &mut streams.inputs)?;
        }
        self.streams = Some(streams);
        Ok(())
    }

    fn move_through(&mut self, block: &Block, part: Part, states: &mut HiddenStates) -> Result<()> {
        let (batch, precision, rotary) = (self.batch(), self.plan.compute.dtype.precision(), &self.rotary);
        self.job.timings.measure(Stage::Advance, || {
            let forward = |x: &Tensor, sequences: &Sequences| {
                let y = block.forward_part(
                    part,
                    &mut Tape::inference(precision),
                    &x.into(),
                    sequences,
                    rotary,
                    &mut NoTap,
                )?;
                Ok((y.tensor().clone(), ()))
            };
            states.advance(batch, forward, |_, ()| Ok(()))
        })
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
