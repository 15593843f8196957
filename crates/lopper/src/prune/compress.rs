//! Window by window, the steps of the schedule: statistics, masks, compensation, reconstruction, and the hidden states moved on.

use super::begin::begin;
use super::block_state::BlockState;
use super::job::Job;
use super::journal::Journal;
use super::record::Record;
use super::refit::stand_in;
use super::solve::{calibrate, prune};
use super::states::{Passage, States};
use super::train::{Training, train_branches, train_linear};
use crate::calibration::HiddenStates;
use crate::checkpoint::Rewrite;
use crate::error::Result;
use crate::model::{BranchId, Decoder, LinearId, StageId};
use crate::plan::{Allocation, CalibrationPlan, ExpertTokens};
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::{Run, State, Step, Trained, Weights};

/// Prunes every block as `run` says, each matrix to the pattern it was allocated, and writes it; but for those that the journal has.
pub(super) fn compress(
    job: &mut Job,
    run: &Run,
    allocation: &Allocation,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
    journal: &mut Journal,
) -> Result<Record> {
    let (plan, schedule) = (&run.plan, &run.schedule);
    let blocks = decoder.spec().blocks.len();
    if journal.blocks() >= blocks {
        return Ok(journal.record(allocation, decoder.spec()));
    }
    let passage = Passage::new(plan, decoder);
    let states = begin(job, plan, decoder, (schedule, &passage), (journal, rewrite))?;
    let record = journal.record(allocation, decoder.spec());
    let mut compression = Compression { job, run, allocation, decoder, passage, states, blocks: Vec::new(), record };
    let stage = format!("pruning {blocks} blocks");
    compression.job.observer.event(Event::Stage { name: &stage });
    for window in schedule.windows_from(journal.blocks()) {
        let done = window.end;
        for step in schedule.steps(window) {
            compression.step(&step)?;
        }
        compression.store(rewrite)?;
        if let Some(warning) = few_tokens(&compression.record, &plan.calibration).filter(|_| done == blocks) {
            compression.job.warn(warning);
        }
        let kept = schedule.kept().filter(|_| done < blocks);
        let kept: Vec<(State, &HiddenStates)> =
            kept.filter_map(|state| Some((state, compression.states.find(state)?))).collect();
        journal.window(compression.job, &compression.record, done, &kept, rewrite)?;
        compression.job.observer.event(Event::Progress(done as f64 / blocks as f64));
    }
    Ok(compression.record)
}

/// What is to be said of experts that few tokens reached, if there are any.
fn few_tokens(record: &Record, plan: &CalibrationPlan) -> Option<String> {
    let wanted = plan.min_expert_tokens;
    if plan.expert_tokens == ExpertTokens::All {
        return None;
    }
    let of_experts = record.matrices.iter().filter_map(|facts| Some((facts.tokens?, &facts.name)));
    let few: Vec<(usize, &String)> = of_experts.clone().filter(|(tokens, _)| *tokens < wanted).collect();
    let (fewest, name) = few.iter().min()?;
    Some(format!(
        "fewer than {wanted} tokens (calibration.min_expert_tokens) reached {} of {} matrices of experts, the fewest, {fewest}, {name}: other tokens stand in for those that are missing; more calibration text serves better",
        few.len(),
        of_experts.count()
    ))
}

/// A run on its way through the model.
struct Compression<'j, 'o> {
    job: &'j mut Job<'o>,
    run: &'j Run<'j>,
    allocation: &'j Allocation,
    decoder: &'j Decoder,
    passage: Passage,
    states: States,
    /// Of the window at hand.
    blocks: Vec<BlockState>,
    record: Record,
}

impl Compression<'_, '_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            &Step::Load(block) => self.load(block),
            Step::Calibrate { branches, reads, writes } => self.calibrate(branches, (*reads, *writes)),
            Step::Prune(branches) => self.prune(branches),
            &Step::Copy { from, to } => {
                let states = self.states.get(from)?.clone();
                self.states.set(to, states);
                Ok(())
            }
            &Step::Move { state, stage, weights } => self.advance(state, stage, weights),
            &Step::Pass { state, number } => {
                let block = self.decoder.load_gone(number)?;
                let (passage, states) = (&self.passage, self.states.get_mut(state)?);
                self.job.timings.measure(Stage::Advance, || passage.block(states, &block))
            }
            &Step::Capture { linear, weights, from, to } => self.capture(linear, weights, (from, to)),
            &Step::Apply { linear, from, to } => self.apply(linear, (from, to)),
            Step::Release(branches) => {
                for &branch in branches {
                    self.block(branch.at.block).release(branch);
                }
                Ok(())
            }
            Step::ForgetStatistics(branches) => {
                for &branch in branches {
                    self.block(branch.at.block).forget_inputs(branch);
                }
                Ok(())
            }
            &Step::StandIn { linear, reads, targets } => {
                let Self { job, run, passage, states, blocks, .. } = self;
                let first = blocks[0].index;
                let block = &mut blocks[linear.block - first];
                let at = branch_of(block, linear.index).at;
                let found = stand_in(job, (run, passage), (block, at, linear.index), (states, reads, targets))?;
                if let Some(found) = found {
                    self.record.missed(&run.spec.weight_name(linear), found.error);
                }
                Ok(())
            }
            Step::Train { window, reads, targets } => self.train(window, (*reads, *targets)),
            &Step::Round(stage) => {
                let checkpoint = self.decoder.checkpoint();
                let beyond = self.block(stage.block).round(stage, checkpoint);
                if beyond > 0 {
                    let block = self.decoder.spec().number(stage.block);
                    self.job.warn(format!("block {block}: {beyond} trained weights beyond the range of the file's dtype became its largest number"));
                }
                Ok(())
            }
            &Step::Rename { from, to } => self.states.rename(from, to),
            &Step::Forget(state) => {
                self.states.forget(state);
                Ok(())
            }
        }
    }

    /// A block of the window at hand.
    fn block(&mut self, index: usize) -> &mut BlockState {
        let first = self.blocks[0].index;
        &mut self.blocks[index - first]
    }

    fn load(&mut self, index: usize) -> Result<()> {
        let targets = self.run.schedule.dense_stream;
        let whole = if targets { self.decoder.load_whole(index)? } else { None };
        self.blocks.push(BlockState { whole, ..BlockState::load(self.decoder, index)? });
        self.decoder.prefetch_block(index + 1);
        Ok(())
    }

    fn calibrate(&mut self, branches: &[BranchId], states: (State, Option<State>)) -> Result<()> {
        let Self { passage, run, .. } = self;
        let block = branches[0].at.block - self.blocks[0].index;
        let dense = &self.blocks[block].dense;
        let (passage, of) = (&*passage, &mut self.states);
        let (found, reached) =
            self.job.timings.measure(Stage::Calibrate, || calibrate(of, (passage, run), (dense, branches), states))?;
        self.blocks[block].statistics.extend(found);
        self.blocks[block].reached.extend(reached);
        Ok(())
    }

    /// Prunes and repairs the matrices of some branches of a block.
    fn prune(&mut self, branches: &[BranchId]) -> Result<()> {
        let block = branches[0].at.block - self.blocks[0].index;
        let state = &mut self.blocks[block];
        for &branch in branches {
            let by = (self.run, self.allocation, self.decoder.checkpoint());
            self.record.matrices.extend(prune(self.job, by, state, branch)?);
            state.forget_held_out(branch);
        }
        Ok(())
    }

    fn advance(&mut self, state: State, stage: StageId, weights: Weights) -> Result<()> {
        let block = &self.blocks[stage.block - self.blocks[0].index];
        let rounded = (weights == Weights::Stored).then(|| block.rounded(stage, self.decoder.checkpoint()));
        let block = match weights {
            Weights::Dense => block.target(),
            Weights::Pruned | Weights::Stored => rounded.as_ref().unwrap_or(&block.pruned),
        };
        let (passage, states) = (&self.passage, self.states.get_mut(state)?);
        self.job.timings.measure(Stage::Advance, || passage.stage(states, block, stage.stage))
    }

    /// The readers of a linear layer's input, if any of them is pruned: nothing is kept for those that stay dense.
    fn capture(&mut self, linear: LinearId, weights: Weights, (from, to): (State, State)) -> Result<()> {
        let block = &self.blocks[linear.block - self.blocks[0].index];
        let readers = |&reader: &usize| block.pruned.spec.linears[reader].first_reader == linear.index;
        if !block.masks.keys().any(readers) {
            return Ok(());
        }
        let shown = if weights == Weights::Dense { &block.dense } else { &block.pruned };
        let branch = branch_of(block, linear.index);
        let (passage, states) = (&self.passage, self.states.get(from)?);
        let captured =
            self.job.timings.measure(Stage::Advance, || passage.capture(states, shown, branch, linear.index))?;
        self.states.set(to, captured);
        Ok(())
    }

    fn apply(&mut self, linear: LinearId, (from, to): (State, State)) -> Result<()> {
        let block = &self.blocks[linear.block - self.blocks[0].index];
        if !block.masks.contains_key(&linear.index) {
            return Ok(());
        }
        let (passage, states) = (&self.passage, self.states.get(from)?);
        let outputs =
            self.job.timings.measure(Stage::Advance, || passage.linear(states, &block.dense, linear.index))?;
        self.states.set(to, outputs);
        Ok(())
    }

    fn train(&mut self, window: &Trained, (reads, targets): (State, State)) -> Result<()> {
        let Self { run, decoder, passage, states, job, record, blocks, .. } = self;
        let rotary = &passage.rotary;
        match window {
            Trained::Linear(linear) => {
                let first = blocks[0].index;
                let block = &mut blocks[linear.block - first];
                if !block.masks.contains_key(&linear.index) {
                    return Ok(());
                }
                let training =
                    Training { run, decoder, rotary, inputs: states.get(reads)?, targets: states.get(targets)? };
                let branch = branch_of(block, linear.index);
                train_linear(job, &training, block, (branch, linear.index), record)
            }
            Trained::Branches(branches) => {
                let first = blocks[0].index;
                if !branches.iter().any(|&branch| blocks[branch.at.block - first].is_pruned(branch)) {
                    return Ok(());
                }
                let training =
                    Training { run, decoder, rotary, inputs: states.get(reads)?, targets: states.get(targets)? };
                train_branches(job, &training, blocks, branches, record)
            }
        }
    }

    /// Writes what was pruned, and what was trained beside it.
    fn store(&mut self, rewrite: &mut Rewrite) -> Result<()> {
        let trained = !self.record.windows.is_empty();
        for state in std::mem::take(&mut self.blocks) {
            let changed = state.changed(trained);
            self.job.timings.measure(Stage::Write, || {
                changed
                    .iter()
                    .try_for_each(|&place| rewrite.put(&state.pruned.name(place), &*state.pruned.in_file(place)?))
            })?;
            self.record.replaced.extend(changed.into_iter().map(|place| state.pruned.name(place)));
        }
        Ok(())
    }
}

/// The branch of a linear layer.
fn branch_of(block: &BlockState, linear: usize) -> BranchId {
    let spec = &block.pruned.spec;
    let found = spec.branch_ids(block.index).find(|&branch| spec.branch(branch).linears.contains(&linear));
    found.expect("every linear layer belongs to a branch")
}
