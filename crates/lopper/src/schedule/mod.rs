//! Plan and model → what happens to each block, in order. Pure: `explain` prints it, `prune` obeys it.

mod run;
mod step;
#[cfg(test)]
mod tests;
mod together;

use std::ops::Range;

use crate::calibration::Needs;
use crate::error::Result;
use crate::model::{BlockSpec, BranchId, DecoderSpec, LinearId, StageId};
use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, WindowTargets};

pub use run::Run;
pub use step::{State, Step, Trained, Weights};

/// Tokens per forward pass: enough to fill the kernels, few enough for the caches.
const BATCH_TOKENS: usize = 1024;

/// Sequences of this length per forward pass.
pub(crate) fn batch(seqlen: usize) -> usize {
    (BATCH_TOKENS / seqlen.max(1)).max(1)
}

/// What happens to every window.
#[expect(clippy::struct_excessive_bools, reason = "each is one answer about the plan")]
#[derive(Clone, Debug)]
pub struct Schedule<'a> {
    spec: &'a DecoderSpec,
    /// What a pass over the dense model collects before the first block; `None` where every share is known beforehand.
    pub survey: Option<Needs>,
    /// What trains together.
    pub granularity: Granularity,
    /// Whether all branches of a block are pruned from one pass.
    by_block: bool,
    /// What the method wants to know of a layer's inputs.
    pub needs: Needs,
    /// Whether hidden states are needed at all.
    pub calibrates: bool,
    /// Whether those that layers are shown are the dense model's.
    pub dense_inputs: bool,
    /// Whether targets run beside the hidden states of the pruned model.
    pub dense_stream: bool,
    /// Whether what comes before blocks that are gone moves by least squares.
    refits: bool,
    /// Whose activations windows should give.
    targets: WindowTargets,
}

impl<'a> Schedule<'a> {
    /// The schedule of a plan whose method has these needs.
    ///
    /// # Errors
    /// If the plan names an unknown criterion.
    pub fn new(plan: &Plan, spec: &'a DecoderSpec, needs: Needs) -> Result<Self> {
        let granularity = plan.reconstruction.granularity;
        let trains = granularity != Granularity::None;
        let refinement = if plan.pruning.swaps > 0 { Needs::Gram } else { Needs::Nothing };
        let needs = needs.max(refinement);
        let dense_inputs = plan.calibration.inputs == Inputs::Dense;
        let targets = plan.reconstruction.targets;
        // a matrix makes its local targets of its own inputs
        let own_targets = targets == WindowTargets::Local && granularity == Granularity::Matrix;
        let refits = plan.stands_in() && !spec.gone.is_empty();
        Ok(Self {
            spec,
            survey: plan.survey()?,
            granularity,
            // inputs of the dense model do not change by pruning: the finer order costs nothing and gives the targets
            by_block: plan.pruning.granularity == PruningGranularity::Block && !dense_inputs,
            needs,
            calibrates: trains || refits || needs != Needs::Nothing,
            dense_inputs,
            dense_stream: (trains || refits) && !dense_inputs && !own_targets,
            refits,
            targets,
        })
    }

    /// The blocks of each window.
    pub fn windows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.windows_from(0)
    }

    /// The same where so many blocks are finished already, by whatever windows.
    pub fn windows_from(&self, finished: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let blocks = self.spec.blocks.len();
        let span = self.granularity.span().min(blocks).max(1);
        (finished..blocks).step_by(span).map(move |first| first..blocks.min(first + span))
    }

    /// The steps of a window, in order.
    pub fn steps(&self, blocks: Range<usize>) -> Vec<Step> {
        let mut steps = Vec::new();
        if blocks.start == 0 {
            // what goes before the first block leaves nothing to train
            self.dense_states().for_each(|state| steps.extend(self.pass(state, 0)));
        }
        steps.extend(match self.granularity {
            Granularity::None | Granularity::Matrix | Granularity::Submodule => {
                blocks.flat_map(|block| self.branch_by_branch(block)).collect()
            }
            Granularity::Block | Granularity::Blocks(_) | Granularity::Model => self.together(blocks),
        });
        steps
    }

    /// Those of the states that are kept which are the dense model's.
    pub fn dense_states(&self) -> impl Iterator<Item = State> + use<> {
        let all_dense = self.dense_inputs;
        self.kept().filter(move |&state| all_dense || state == State::Dense)
    }

    /// Moves states of the dense model through the blocks that are gone before this one: what comes before them should give what they gave.
    fn pass(&self, state: State, block: usize) -> impl Iterator<Item = Step> + use<> {
        self.spec.gone_before(block).map(move |number| Step::Pass { state, number })
    }

    /// The same after a stage, if it is the last of its block.
    fn pass_after(&self, state: State, stage: StageId) -> impl Iterator<Item = Step> + use<> {
        let is_last = stage.stage + 1 == self.block(stage.block).stages.len();
        is_last.then(|| self.pass(state, stage.block + 1)).into_iter().flatten()
    }

    /// Whether targets begin anew with each window.
    pub fn restarts(&self) -> bool {
        self.dense_stream && self.targets == WindowTargets::Local
    }

    /// The states that one window leaves to the next.
    pub fn kept(&self) -> impl Iterator<Item = State> + use<> {
        let dense = self.dense_stream && !self.restarts();
        [(self.calibrates, State::Inputs), (dense, State::Dense)]
            .into_iter()
            .filter(|(kept, _)| *kept)
            .map(|(_, state)| state)
    }

    /// Branches of a block that are pruned from one pass, in order.
    fn groups(&self, block: usize) -> Vec<Vec<BranchId>> {
        let all: Vec<BranchId> = self.block(block).branch_ids(block).collect();
        if self.by_block { vec![all] } else { all.into_iter().map(|branch| vec![branch]).collect() }
    }

    fn block(&self, block: usize) -> &BlockSpec {
        &self.spec.blocks[block]
    }

    /// Each branch is finished before the next is trained, each stage before the next is pruned.
    fn branch_by_branch(&self, block: usize) -> Vec<Step> {
        let mut steps = vec![Step::Load(block)];
        for group in self.groups(block) {
            // the first branch of a stage computes what the stage gives
            let writes = self.dense_inputs && group[0].branch == 0;
            steps.extend(self.calibrate(&group, State::Inputs, writes.then_some(State::Ahead)));
            if writes && self.calibrates {
                steps.extend(self.pass_after(State::Ahead, group[0].at));
            }
            steps.push(Step::Prune(group.clone()));
            for &branch in &group {
                match self.granularity {
                    Granularity::None => {
                        steps.extend(self.begin_targets(branch));
                        steps.extend(self.stand_in(branch));
                        steps.push(Step::ForgetStatistics(vec![branch]));
                    }
                    Granularity::Matrix => steps.extend(self.matrices(branch)),
                    _ => steps.extend(self.submodule(branch)),
                }
                if self.is_last_of_stage(branch) {
                    steps.extend(self.leave(branch.at));
                }
            }
        }
        steps
    }

    /// A branch trains by itself.
    fn submodule(&self, branch: BranchId) -> Vec<Step> {
        let mut steps = self.begin_targets(branch);
        steps.extend(self.stand_in(branch));
        let targets = if self.dense_inputs { State::Ahead } else { State::Dense };
        let window = Trained::Branches(vec![branch]);
        steps.push(Step::Release(vec![branch]));
        steps.push(Step::Train { window, reads: State::Inputs, targets });
        steps.push(Step::ForgetStatistics(vec![branch]));
        steps
    }

    /// What a stage should give, before its first branch is repaired.
    fn begin_targets(&self, branch: BranchId) -> Vec<Step> {
        let mut steps = Vec::new();
        if branch.branch == 0 {
            steps.extend(self.restarts().then_some(Step::Copy { from: State::Inputs, to: State::Dense }));
            steps.extend(self.targets(branch.at));
        }
        steps
    }

    /// The last matrix before blocks that are gone stands in for them, where its outputs are added to the states as they are.
    fn stand_in(&self, branch: BranchId) -> Option<Step> {
        if !(self.refits && self.is_last_of_stage(branch) && self.spec.is_before_gone(branch.at)) {
            return None;
        }
        let block = branch.at.block;
        let linear = LinearId { block, index: self.block(block).adds(branch)? };
        Some(Step::StandIn { linear, reads: State::Inputs, targets: State::Dense })
    }

    /// The linear layers of a branch train one by one.
    fn matrices(&self, branch: BranchId) -> Vec<Step> {
        let spec = self.block(branch.at.block);
        let of = |index| LinearId { block: branch.at.block, index };
        let weights = if self.dense_inputs { Weights::Dense } else { Weights::Pruned };
        let mut steps = Vec::new();
        let linears = &spec.branch(branch).linears;
        for &first in linears.iter().filter(|&&linear| spec.linears[linear].first_reader == linear) {
            let linear = of(first);
            steps.push(Step::Capture { linear, weights, from: State::Inputs, to: State::LayerInputs });
            let mut from = State::LayerInputs;
            if self.dense_stream {
                from = State::LayerDense;
                steps.push(Step::Capture { linear, weights: Weights::Dense, from: State::Dense, to: from });
            }
            for &index in linears.iter().filter(|&&linear| spec.linears[linear].first_reader == first) {
                let (linear, reads, targets) = (of(index), State::LayerInputs, State::LayerTargets);
                steps.push(Step::Apply { linear, from, to: targets });
                steps.push(Step::Train { window: Trained::Linear(linear), reads, targets });
            }
            steps.extend([State::LayerInputs, State::LayerTargets].map(Step::Forget));
            steps.extend(self.dense_stream.then_some(Step::Forget(State::LayerDense)));
        }
        steps.push(Step::ForgetStatistics(vec![branch]));
        steps
    }

    /// After the last branch of a stage: hidden states move on.
    fn leave(&self, stage: StageId) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.granularity == Granularity::Matrix {
            steps.extend(self.targets(stage));
        }
        if self.calibrates && self.dense_inputs {
            steps.push(Step::Rename { from: State::Ahead, to: State::Inputs });
        } else if self.calibrates {
            steps.push(Step::Round(stage));
            steps.push(Step::Move { state: State::Inputs, stage, weights: Weights::Pruned });
        }
        steps
    }

    fn is_last_of_stage(&self, BranchId { at, branch }: BranchId) -> bool {
        branch + 1 == self.block(at.block).stages[at.stage].branches.len()
    }

    /// The stages all of whose branches are pruned after a group.
    fn finished_stages(&self, group: &[BranchId]) -> Vec<StageId> {
        group.iter().filter(|&&branch| self.is_last_of_stage(branch)).map(|branch| branch.at).collect()
    }

    fn calibrate(&self, group: &[BranchId], reads: State, writes: Option<State>) -> Option<Step> {
        let wanted = self.calibrates && (self.needs != Needs::Nothing || writes.is_some());
        wanted.then(|| Step::Calibrate { branches: group.to_vec(), reads, writes })
    }

    /// Moves the targets through a stage of the dense model, and through the blocks that are gone after it.
    fn targets(&self, stage: StageId) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.dense_stream {
            steps.push(Step::Move { state: State::Dense, stage, weights: Weights::Dense });
            steps.extend(self.pass_after(State::Dense, stage));
        }
        steps
    }
}
