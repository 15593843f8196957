//! What training holds in memory: of a window, or of the whole model.

use super::Sizes;
use super::memory::{F32, Item};
use super::steps::linears_of;
use crate::autograd::optimizer::OptimizerKind;
use crate::model::{BlockSpec, HEAD_TOKENS, LinearSpec};
use crate::plan::RetrainingObjective;
use crate::reconstruction::Parameters;
use crate::schedule::{Step, Trained};

impl Sizes<'_> {
    /// Numbers that train in a window.
    fn trained_in(&self, window: &Trained) -> u64 {
        let linears = linears_of(window, self);
        self.trained(self.plan.reconstruction.parameters, linears.iter().map(|&id| self.spec.linear(id)))
    }

    /// Numbers that train in the whole model.
    fn trained_in_model(&self) -> u64 {
        let plan = &self.plan.retraining;
        let linears = self.spec.blocks.iter().flat_map(|block| &block.linears);
        if plan.objective == RetrainingObjective::None { 0 } else { self.trained(plan.parameters, linears) }
    }

    /// Bytes of what a window was, and of the best that it has become: of the larger of all windows.
    pub(super) fn copies(&self) -> u64 {
        let copies = |numbers: u64, epochs: usize| numbers * F32 * if epochs > 1 { 2 } else { 1 };
        let windows = self.schedule.windows().flat_map(|window| self.schedule.steps(window));
        let trained =
            windows.map(|step| if let Step::Train { window, .. } = step { self.trained_in(&window) } else { 0 });
        let window = copies(trained.max().unwrap_or(0), self.plan.reconstruction.epochs);
        window.max(copies(self.trained_in_model(), self.plan.retraining.epochs))
    }

    /// Snapshot, gradients and moments of a window, and the activations of one batch.
    pub(super) fn training(&self, window: &Trained) -> Vec<Item> {
        let plan = &self.plan.reconstruction;
        let tokens = (plan.batch * self.seqlen) as u64;
        let (activations, blocks) = match window {
            Trained::Linear(id) => (2 * self.spec.linear(*id).shape.iter().sum::<usize>() as u64, 1),
            Trained::Branches(branches) => {
                let blocks = branches.last().map_or(0, |last| last.at.block + 1 - branches[0].at.block);
                let of = |block: usize| {
                    let own = branches.iter().filter(|branch| branch.at.block == block);
                    own.map(|&branch| self.spec.blocks[block].branch(branch).program.numbers_training() as u64).sum()
                };
                ((branches[0].at.block..branches[0].at.block + blocks).map(of).max().unwrap_or(0), blocks)
            }
        };
        let boundaries = if blocks > 1 { (blocks * self.spec.hidden) as u64 } else { 0 };
        let mut items = self.states_of_training(self.trained_in(window), plan.parameters, plan.epochs);
        items.push(Item {
            name: "activations of one batch, forward and backward",
            bytes: (activations + boundaries) * tokens * F32,
        });
        items
    }

    /// Whether the dense model teaches the whole pruned one.
    pub(super) fn has_teacher(&self) -> bool {
        matches!(self.plan.retraining.objective, RetrainingObjective::Kl | RetrainingObjective::Logits)
    }

    /// The whole model with its training state, the states between its blocks, one block's activations, and some logits.
    pub(super) fn retraining(&self) -> Vec<Item> {
        let (plan, blocks) = (&self.plan.retraining, self.spec.blocks.len() as u64);
        let weights: u64 = self.spec.blocks.iter().map(|block| block.weights() as u64).sum();
        let (h, tokens) = (self.spec.hidden as u64, (plan.batch * self.seqlen) as u64);
        let head = (self.spec.vocabulary.max(1) * self.spec.head.width) as u64 * F32;
        let of_block = |block: &BlockSpec| {
            let branches = block.stages.iter().flat_map(|stage| &stage.branches);
            branches.map(|branch| branch.program.numbers_training() as u64).sum::<u64>()
        };
        let block = self.spec.blocks.iter().map(|block| of_block(block)).max().unwrap_or(0);
        // with a gradient, and those of a teacher
        let alive = self.spec.head.logits_alive() + 1 + usize::from(self.has_teacher());
        let logits = (HEAD_TOKENS * self.spec.vocabulary * alive) as u64 * F32;
        let mut items = vec![
            self.states(self.retraining_streams()),
            Item { name: "the whole model with its masks, and the head", bytes: weights * (F32 + 1) + head },
        ];
        items.extend(self.states_of_training(self.trained_in_model(), plan.parameters, plan.epochs));
        items.push(Item {
            name: "activations of one batch in one block, states between blocks",
            bytes: tokens * F32 * (block + blocks * h),
        });
        items.push(Item { name: "logits of some tokens with their gradient", bytes: logits });
        items
    }

    /// Bytes of the hidden states that retraining reads.
    pub(super) fn retraining_streams(&self) -> u64 {
        let streams = match self.plan.retraining.objective {
            RetrainingObjective::None => 0,
            _ => 1 + u64::from(self.has_teacher()),
        };
        streams * self.stream()
    }

    /// What is kept of so many numbers that train.
    fn states_of_training(&self, trained: u64, parameters: Parameters, epochs: usize) -> Vec<Item> {
        let (name, moments) = match self.plan.reconstruction.optimizer {
            OptimizerKind::AdamW => ("AdamW's two moments", 2 * trained * F32),
            OptimizerKind::Sgd => ("momentum", trained * F32),
            OptimizerKind::Adafactor => ("a copy of the largest gradient", self.largest() * F32),
        };
        let copies = if self.on_disk { 0 } else { trained * F32 * if epochs > 1 { 2 } else { 1 } };
        let adapted = if parameters.adapter.is_some() { 3 * self.largest() * F32 } else { 0 };
        vec![
            Item { name: "a copy to fall back on", bytes: copies },
            Item { name: "gradients", bytes: trained * F32 },
            Item { name, bytes: moments },
            Item { name: "adapted weights and their gradients", bytes: adapted },
        ]
    }

    /// Numbers that train in some linear layers.
    fn trained<'s>(&self, parameters: Parameters, linears: impl Iterator<Item = &'s LinearSpec>) -> u64 {
        let of = |linear: &LinearSpec| {
            let full = if parameters.weights { linear.weights() } else { 0 };
            let adapter =
                parameters.adapter.map_or(0, |_| self.plan.reconstruction.rank * (linear.shape[0] + linear.shape[1]));
            (full + adapter) as u64
        };
        linears.map(of).sum()
    }

    /// Weights of the largest matrix.
    fn largest(&self) -> u64 {
        let linears = self.spec.blocks.iter().flat_map(|block| &block.linears);
        linears.map(LinearSpec::weights).max().unwrap_or(0) as u64
    }
}
