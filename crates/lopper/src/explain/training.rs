//! What training holds in memory: of a window, or of the whole model.

use super::Sizes;
use super::memory::{F32, Item};
use crate::autograd::optimizer::OptimizerKind;
use crate::model::{HEAD_TOKENS, LinearRole, Part};
use crate::plan::{Granularity, RetrainingObjective};
use crate::reconstruction::Parameters;

/// The halves of a block.
const HALVES: [Part; 2] = [Part::Attention, Part::Mlp];

impl Sizes<'_> {
    /// Blocks of a window.
    pub(super) fn span(&self) -> u64 {
        self.plan.reconstruction.granularity.span().clamp(1, self.spec.blocks.max(1)) as u64
    }

    /// Numbers that train in a window.
    fn trained_in_window(&self) -> u64 {
        let plan = &self.plan.reconstruction;
        let half =
            |part| self.trained(plan.parameters, LinearRole::ALL.into_iter().filter(move |role| role.part() == part));
        let block = HALVES.map(half);
        let alone = |role| self.trained(plan.parameters, std::iter::once(role));
        match plan.granularity {
            Granularity::None => 0,
            Granularity::Matrix => LinearRole::ALL.map(alone).into_iter().max().unwrap_or(0),
            Granularity::Submodule => block[0].max(block[1]),
            _ => self.span() * (block[0] + block[1]),
        }
    }

    /// Numbers that train in the whole model.
    fn trained_in_model(&self) -> u64 {
        let plan = &self.plan.retraining;
        let trains = plan.objective != RetrainingObjective::None;
        let block = self.trained(plan.parameters, LinearRole::ALL.into_iter());
        if trains { self.spec.blocks as u64 * block } else { 0 }
    }

    /// Bytes of what a window was, and of the best that it has become: of the larger of all windows.
    pub(super) fn copies(&self) -> u64 {
        let copies = |numbers: u64, epochs: usize| numbers * F32 * if epochs > 1 { 2 } else { 1 };
        let window = copies(self.trained_in_window(), self.plan.reconstruction.epochs);
        window.max(copies(self.trained_in_model(), self.plan.retraining.epochs))
    }

    /// Snapshot, gradients and moments of the window at hand, and the activations of one batch.
    pub(super) fn training(&self) -> Vec<Item> {
        let plan = &self.plan.reconstruction;
        let tokens = (plan.batch * self.seqlen) as u64;
        let boundaries = self.span() * tokens * self.spec.hidden as u64 * F32;
        let activations = match plan.granularity {
            Granularity::Matrix => LinearRole::ALL.map(|role| self.widths(role)).into_iter().max().unwrap_or(0) * 2,
            Granularity::None | Granularity::Submodule => {
                HALVES.map(|part| self.activations(part, true)).into_iter().max().unwrap_or(0)
            }
            _ => HALVES.map(|part| self.activations(part, true)).iter().sum(),
        };
        let mut items = self.states_of_training(self.trained_in_window(), plan.parameters, plan.epochs);
        items.push(Item {
            name: "activations of one batch, forward and backward",
            bytes: activations * tokens * F32 + if self.span() > 1 { boundaries } else { 0 },
        });
        items.push(self.captured());
        items
    }

    /// Whether the dense model teaches the whole pruned one.
    pub(super) fn is_taught(&self) -> bool {
        matches!(self.plan.retraining.objective, RetrainingObjective::Kl | RetrainingObjective::Logits)
    }

    /// The whole model with its training state, the states between its blocks, one block's activations, and some logits.
    pub(super) fn retraining(&self) -> Vec<Item> {
        let (plan, blocks) = (&self.plan.retraining, self.spec.blocks as u64);
        let weights = blocks * HALVES.map(|part| self.weights(part)).iter().sum::<u64>();
        let (h, tokens) = (self.spec.hidden as u64, (plan.batch * self.seqlen) as u64);
        let head = (self.spec.vocabulary.max(1) as u64) * h * F32;
        let block: u64 = HALVES.map(|part| self.activations(part, true)).iter().sum();
        let logits = (HEAD_TOKENS * self.spec.vocabulary) as u64 * F32 * (2 + u64::from(self.is_taught()));
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
            _ => 1 + u64::from(self.is_taught()),
        };
        streams * self.stream()
    }

    /// What is kept of so many numbers that train.
    pub(super) fn states_of_training(&self, trained: u64, parameters: Parameters, epochs: usize) -> Vec<Item> {
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

    /// Numbers that train in some matrices of a block.
    pub(super) fn trained(&self, parameters: Parameters, roles: impl Iterator<Item = LinearRole>) -> u64 {
        let of = |role| {
            let (d_out, d_in) = self.spec.shape(role);
            let full = if parameters.weights { d_out * d_in } else { 0 };
            let adapter = parameters.adapter.map_or(0, |_| self.plan.reconstruction.rank * (d_out + d_in));
            (full + adapter) as u64
        };
        roles.map(of).sum()
    }

    /// Inputs and outputs of a matrix.
    fn widths(&self, role: LinearRole) -> u64 {
        let (d_out, d_in) = self.spec.shape(role);
        (d_out + d_in) as u64
    }

    /// Weights of the largest matrix.
    fn largest(&self) -> u64 {
        let weights = |role| self.spec.shape(role).0 * self.spec.shape(role).1;
        LinearRole::ALL.map(weights).into_iter().max().unwrap_or(0) as u64
    }

    /// Where matrices train one by one: inputs and targets of the one at hand, of every window.
    fn captured(&self) -> Item {
        let bytes = if self.on_disk { 0 } else { self.captured_bytes() };
        Item { name: "inputs and targets of a matrix", bytes }
    }

    /// Bytes of those inputs and targets.
    pub(super) fn captured_bytes(&self) -> u64 {
        if self.plan.reconstruction.granularity != Granularity::Matrix {
            return 0;
        }
        let twice = u64::from(self.schedule.dense_stream);
        let of = |role| self.widths(role) + twice * self.spec.shape(role).1 as u64;
        let widest = LinearRole::ALL.map(of).into_iter().max().unwrap_or(0);
        widest * (self.windows * self.seqlen) as u64 * self.plan.compute.hidden_states.bytes()
    }
}
