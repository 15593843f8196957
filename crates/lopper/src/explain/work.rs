//! Floating-point operations by stage: the matrix products, which is where the time goes.

use serde::Serialize;

use super::Sizes;
use crate::calibration::Needs;
use crate::method::SHARES;
use crate::model::{BlockSpec, Branch, BranchId, LinearId, LinearSpec, StageId};
use crate::plan::{ExpertTokens, RetrainingObjective};
use crate::schedule::{Run, State, Step, Trained};

/// Floating-point operations of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Name of the stage, as in the report's timings.
    pub stage: &'static str,
    /// Operations; a multiplication and an addition are two.
    pub flops: f64,
}

impl Sizes<'_> {
    pub(super) fn work(&self, scored_tokens: usize) -> Vec<Work> {
        let (_, scored) = self.run.models();
        let mut work = vec![Work { stage: "calibrate", flops: 0.0 }, Work { stage: "solve", flops: 0.0 }];
        work.extend(["reconstruct", "retrain", "advance"].map(|stage| Work { stage, flops: 0.0 }));
        let add = |work: &mut Vec<Work>, run: &Run| {
            work.iter_mut().zip(Sizes::new(run).compress()).for_each(|(work, flops)| work.flops += flops);
        };
        self.run.lower.iter().for_each(|lower| add(&mut work, lower));
        add(&mut work, self.run);
        if self.plan.shrink.depth.is_some() {
            work[0].flops += self.looked_at() as f64 * (self.all_blocks(self.seqlen) + self.gone(self.seqlen));
        }
        if self.plan.shrink.experts.is_some() {
            work[0].flops += self.looked_at() as f64 * self.every_expert(self.seqlen);
        }
        work[0].flops += self.schedule.survey.map_or(0.0, |needs| self.survey(needs));
        let per_token = self.all_blocks(self.plan.evaluation_seqlen(self.spec)) + self.head();
        // only the dense model has the blocks that are gone; experts that are change nothing for a token
        let flops = scored as f64 * per_token + self.gone(self.plan.evaluation_seqlen(self.spec));
        work.push(Work { stage: "evaluate", flops: scored_tokens as f64 * flops });
        work
    }

    /// Operations per token of a forward pass through all blocks, in sequences of `length`.
    fn all_blocks(&self, length: usize) -> f64 {
        self.branches().map(|(block, branch)| block.flops(branch, length)).sum()
    }

    /// The same through those that are gone from the model.
    fn gone(&self, length: usize) -> f64 {
        self.spec.gone.values().map(|block| whole(block, length)).sum()
    }

    /// Operations per token of a forward pass through all blocks where experts are gone from some, and of all their experts for every token.
    fn every_expert(&self, length: usize) -> f64 {
        let every = self.spec.fewer.values().map(|fewer| {
            let branches = fewer.whole.stages.iter().flat_map(|stage| &stage.branches);
            branches.map(|branch| fewer.whole.flops_of_experts(branch)).sum::<f64>()
        });
        self.all_blocks(length) + every.sum::<f64>()
    }

    /// Operations per token of the head.
    fn head(&self) -> f64 {
        2.0 * (self.spec.vocabulary * self.spec.head.width) as f64
    }

    /// Operations of the pass over the dense model before the first block.
    fn survey(&self, needs: Needs) -> f64 {
        if needs == Needs::Nothing {
            return 0.0;
        }
        let of =
            |(block, branch): (&BlockSpec, &Branch)| block.flops(branch, self.seqlen) + squares(block, branch, needs);
        self.tokens()[1] as f64 * self.branches().map(of).sum::<f64>()
    }

    /// Operations of calibrating, solving, reconstructing, retraining and advancing, for one model.
    fn compress(&self) -> [f64; 5] {
        let mut sums = [0.0; 5];
        for step in self.schedule.windows().flat_map(|window| self.schedule.steps(window)) {
            let (stage, flops) = self.step(&step);
            sums[stage] += flops;
        }
        sums[3] = self.retrain();
        if self.has_teacher() {
            sums[4] += self.tokens()[0] as f64 * (self.all_blocks(self.seqlen) + self.gone(self.seqlen));
        }
        sums
    }

    /// The stage that a step belongs to, and its operations.
    fn step(&self, step: &Step) -> (usize, f64) {
        let all = self.tokens()[0] as f64;
        match step {
            _ if self.run.is_idle(step) => (4, 0.0),
            Step::Calibrate { branches, writes, .. } => (0, self.calibrate(branches, *writes)),
            Step::Prune(branches) => (1, branches.iter().map(|&branch| self.solve_branch(branch)).sum()),
            Step::Train { window, .. } => (2, self.train(window)),
            Step::Move { stage, .. } => (4, all * self.stage(*stage)),
            Step::Pass { number, .. } => (4, all * whole(&self.spec.gone[number], self.seqlen)),
            Step::StandIn { linear, .. } => (0, self.stand_in(*linear)),
            Step::Capture { linear, .. } => (4, all * self.to_input(*linear)),
            Step::Apply { linear, .. } => (4, all * 2.0 * self.spec.linear(*linear).weights() as f64),
            _ => (4, 0.0),
        }
    }

    /// A pass through the stage of a linear layer, its two products of statistics, and the solver's.
    fn stand_in(&self, id: LinearId) -> f64 {
        let block = &self.spec.blocks[id.block];
        let [d_out, d_in] = self.spec.linear(id).shape.map(|n| n as f64);
        let stage = StageId { block: id.block, stage: block.stages.len() - 1 };
        let solver = SHARES.len() as f64 * (self.plan.pruning.iterations as f64 + 2.0) * 2.0 * d_out * d_in * d_in;
        self.tokens()[0] as f64 * (self.stage(stage) + d_in * d_in + 2.0 * d_out * d_in) + solver
    }

    /// Per token.
    fn stage(&self, at: StageId) -> f64 {
        let block = &self.spec.blocks[at.block];
        block.stages[at.stage].branches.iter().map(|branch| block.flops(branch, self.seqlen)).sum()
    }

    /// Per token, of what the input of a linear layer needs.
    fn to_input(&self, linear: LinearId) -> f64 {
        let block = &self.spec.blocks[linear.block];
        let branches = block.stages.iter().flat_map(|stage| &stage.branches);
        let own = branches.filter(|branch| branch.linears.contains(&linear.index));
        own.map(|branch| block.flops_of_input(branch, linear.index, self.seqlen)).sum()
    }

    /// The forward pass, and the triangles of the Gram matrices.
    fn calibrate(&self, branches: &[BranchId], writes: Option<State>) -> f64 {
        let [all, train] = self.tokens().map(|tokens| tokens as f64);
        let last = branches.last().map(|branch| branch.at);
        let forward = |branch: &BranchId| {
            let block = &self.spec.blocks[branch.at.block];
            match writes {
                // a stage that gives something is computed whole, once
                Some(_) if branch.branch == 0 => self.stage(branch.at),
                Some(_) => 0.0,
                None if Some(branch.at) == last => block.flops_of_inputs(block.branch(*branch), self.seqlen),
                None => block.flops(block.branch(*branch), self.seqlen),
            }
        };
        let squares = branches.iter().map(|branch| {
            let block = &self.spec.blocks[branch.at.block];
            squares(block, block.branch(*branch), self.schedule.needs)
        });
        let every =
            branches.iter().filter(|_| self.plan.calibration.expert_tokens == ExpertTokens::All).map(|branch| {
                let block = &self.spec.blocks[branch.at.block];
                every_token(block, block.branch(*branch), self.schedule.needs)
            });
        let tokens = if writes.is_some() || self.run.judges { all } else { train };
        let counted = if self.run.judges { all } else { train };
        counted * every.sum::<f64>()
            + tokens * branches.iter().map(forward).sum::<f64>()
            + counted * squares.sum::<f64>()
    }

    /// Forward, and two products of the same size backward; segments but the last go forward twice; the held-out sequences before,
    /// after each epoch, and at two more points of the way.
    fn train(&self, window: &Trained) -> f64 {
        let [all, train] = self.tokens().map(|tokens| tokens as f64);
        let epochs = self.plan.reconstruction.epochs as f64;
        let (forward, again) = match window {
            Trained::Linear(id) => (2.0 * self.spec.linear(*id).weights() as f64, 0.0),
            Trained::Branches(branches) => {
                let mut stages: Vec<StageId> = branches.iter().map(|branch| branch.at).collect();
                stages.dedup();
                let last = stages.last().map_or(0, |last| last.block);
                let of = |again: bool| {
                    let counted = stages.iter().filter(|stage| !again || stage.block < last);
                    counted.map(|&stage| self.stage(stage)).sum::<f64>()
                };
                (of(false), of(true))
            }
        };
        epochs * train * (3.0 * forward + again) + (epochs + 3.0) * (all - train) * forward
    }

    /// Operations of training the whole model: every block twice forward and once backward, the head forward and half backward
    /// (it does not train), and forward for a teacher.
    fn retrain(&self) -> f64 {
        let [all, train] = self.tokens().map(|tokens| tokens as f64);
        let epochs = self.plan.retraining.epochs as f64;
        let (blocks, head) = (self.all_blocks(self.seqlen), self.head());
        let teacher = match self.plan.retraining.objective {
            RetrainingObjective::None => return 0.0,
            RetrainingObjective::Ce => 0.0,
            RetrainingObjective::Kl | RetrainingObjective::Logits => head,
        };
        let held_out = (epochs + 3.0) * (all - train) * (blocks + head + teacher);
        epochs * train * (4.0 * blocks + 2.0 * head + teacher) + held_out
    }

    /// Operations of solving for the matrices of a branch, and of the inverse Hessians of their inputs.
    fn solve_branch(&self, id: BranchId) -> f64 {
        let block = &self.spec.blocks[id.at.block];
        let branch = block.branch(id);
        let mut flops = 0.0;
        let solved = |&index: &usize| self.run.solves(LinearId { block: id.at.block, index });
        if self.schedule.needs >= Needs::Gram {
            let solved = branch.linears.iter().filter(|index| solved(index));
            flops += solved.map(|&linear| self.solve(&block.linears[linear])).sum::<f64>();
        }
        if !branch.linears.iter().any(solved) {
            return flops;
        }
        if self.schedule.needs == Needs::InverseHessian {
            // a Cholesky factor and a triangular inverse, each n³/3
            flops += block.inputs_of(branch).into_iter().map(|n| 2.0 / 3.0 * (n as f64).powi(3)).sum::<f64>();
        }
        flops
    }

    /// Operations of the compensation of one matrix, and of two products with the Gram matrix for each error that is reported.
    fn solve(&self, linear: &LinearSpec) -> f64 {
        let [d_out, d_in] = linear.shape;
        let errors = if self.trains() { 6.0 } else { 4.0 };
        let compensation =
            self.run.method.compensation.cost(linear.shape, &self.plan.solver_settings(), self.run.judges);
        compensation + 2.0 * errors * (d_out * d_in * d_in) as f64
    }
}

/// Operations per token of a forward pass through a block.
fn whole(block: &BlockSpec, length: usize) -> f64 {
    block.stages.iter().flat_map(|stage| &stage.branches).map(|branch| block.flops(branch, length)).sum()
}

/// Operations per token of the Gram matrices of a branch's inputs.
fn squares(block: &BlockSpec, branch: &Branch, needs: Needs) -> f64 {
    block.first_readers(branch).map(|linear| square(linear, needs) * linear.share).sum()
}

/// The same of the input of one layer, for each token that it reads.
fn square(linear: &LinearSpec, needs: Needs) -> f64 {
    if needs >= Needs::Gram { (linear.shape[1] * linear.shape[1]) as f64 } else { 0.0 }
}

/// The same where experts see every token, once more, and what it takes to show them those.
fn every_token(block: &BlockSpec, branch: &Branch, needs: Needs) -> f64 {
    let (alike, own): (Vec<usize>, Vec<usize>) =
        branch.linears.iter().partition(|&&linear| block.reads_as_sent(linear));
    let own = own.iter().map(|&linear| &block.linears[linear]).filter(|linear| linear.of_expert);
    let once = alike.first().map_or(0.0, |&linear| square(&block.linears[linear], needs));
    block.flops_of_experts(branch) + once + own.map(|linear| square(linear, needs)).sum::<f64>()
}
