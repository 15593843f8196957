//! The steps of a window of blocks that train together.

use std::ops::Range;

use super::{Schedule, State, Step, Trained, Weights};
use crate::calibration::Needs;
use crate::model::BranchId;

impl Schedule<'_> {
    /// Every branch is pruned, in order, before all of them train.
    pub(super) fn together(&self, blocks: Range<usize>) -> Vec<Step> {
        // statistics of later stages are of what the earlier ones give; dense inputs have to arrive at the targets
        let previews = !self.dense_inputs && self.needs != Needs::Nothing;
        let restart = Step::Copy { from: State::Inputs, to: State::Dense };
        let mut steps: Vec<Step> = self.restarts().then_some(restart).into_iter().collect();
        let mut reads = State::Inputs;
        for block in blocks.clone() {
            if block > blocks.start {
                // what windows should give has passed through the dense blocks before
                let before: Vec<BranchId> = self.block(block - 1).branch_ids(block - 1).collect();
                steps.extend([Step::Release(before.clone()), Step::ForgetStatistics(before)]);
            }
            steps.push(Step::Load(block));
            let groups = self.groups(block);
            for (place, group) in groups.iter().enumerate() {
                let arrives = self.dense_inputs && group.last().is_some_and(|&last| self.is_last_of_stage(last));
                steps.extend(self.calibrate(group, reads, arrives.then_some(State::Ahead)));
                if arrives {
                    reads = State::Ahead;
                    steps.extend(self.pass_after(reads, group[0].at));
                }
                steps.push(Step::Prune(group.clone()));
                let is_last = block + 1 == blocks.end && place + 1 == groups.len();
                for stage in self.finished_stages(group) {
                    steps.extend(self.targets(stage));
                    if previews && !is_last {
                        steps.extend((reads == State::Inputs).then_some(Step::Copy { from: reads, to: State::Ahead }));
                        reads = State::Ahead;
                        steps.push(Step::Move { state: State::Ahead, stage, weights: Weights::Stored });
                    }
                }
            }
        }
        steps.extend(self.train_together(blocks));
        steps
    }

    /// Every branch of some blocks trains, and the hidden states follow.
    fn train_together(&self, blocks: Range<usize>) -> Vec<Step> {
        let stages = blocks.clone().flat_map(|block| self.block(block).stage_ids(block));
        let branches: Vec<BranchId> = blocks.clone().flat_map(|block| self.block(block).branch_ids(block)).collect();
        let mut steps = vec![Step::Release(branches.clone())];
        // errors of the matrices are told of one block, not of several
        let alone = blocks.len() == 1;
        steps.extend((!alone).then(|| Step::ForgetStatistics(branches.clone())));
        let targets = if self.dense_inputs { State::Ahead } else { State::Dense };
        steps.push(Step::Train { window: Trained::Branches(branches.clone()), reads: State::Inputs, targets });
        steps.extend(alone.then_some(Step::ForgetStatistics(branches)));
        if self.dense_inputs {
            steps.push(Step::Rename { from: State::Ahead, to: State::Inputs });
            return steps;
        }
        steps.push(Step::Forget(State::Ahead));
        for stage in stages {
            steps.push(Step::Round(stage));
            steps.push(Step::Move { state: State::Inputs, stage, weights: Weights::Pruned });
        }
        steps
    }
}
