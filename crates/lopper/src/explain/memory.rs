//! Bytes by phase: what is alive at one time in the code of each stage.

use serde::Serialize;

use super::{Sizes, Texts};
use crate::calibration::{AT_ONCE, Needs};
use crate::checkpoint::PIECE;
use crate::evaluation::{BATCH_ROWS, HEAD_BATCHES, group_bytes};
use crate::method::SLAB;
use crate::model::{HEAD_ROWS, HEAD_TOKENS};
use crate::model::{LinearRole, Part};
use crate::plan::{Granularity, Inputs, PruningGranularity, RetrainingObjective};
use crate::schedule::{Step, batch};

/// Bytes of an f32.
pub(super) const F32: u64 = 4;
/// The program itself, its threads and a tokenizer, in bytes.
const PROGRAM: u64 = 32 << 20;
/// What a tokenizer takes per byte of a text that it is given whole (measured: 112), and leaves in the allocator.
const TOKENIZER_BYTES: u64 = 112;
/// One part in so many of everything else is lost between the allocator's blocks (measured: 0.12 to 0.15).
const ALLOCATOR_SHARE: u64 = 8;
/// Something that takes memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is, for people.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// What is in memory at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// What happens then, for people.
    pub name: &'static str,
    /// What it needs.
    pub items: Vec<Item>,
}

impl Phase {
    /// Bytes of everything together.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// Adds what is there in every phase, and leaves out what takes nothing.
    fn with_surroundings(mut self, largest_text: u64) -> Self {
        self.items.push(Item { name: "lost between blocks of the allocator", bytes: self.bytes() / ALLOCATOR_SHARE });
        self.items.push(Item { name: "the program, its threads, the tokenizer", bytes: PROGRAM });
        // one is read while one is read ahead
        self.items.push(Item { name: "pieces of the files", bytes: 2 * PIECE as u64 });
        self.items
            .push(Item { name: "what the tokenizer makes of the largest text", bytes: TOKENIZER_BYTES * largest_text });
        self.items.retain(|item| item.bytes > 0);
        self
    }
}

impl Sizes<'_> {
    /// Numbers per token that a forward pass of one half holds; with those of the backward pass if it trains.
    pub(super) fn activations(&self, part: Part, trains: bool) -> u64 {
        let (h, i) = (self.spec.hidden as u64, self.spec.mlp.intermediate as u64);
        let attention = &self.spec.attention;
        let [q, kv] = [attention.heads, attention.kv_heads].map(|heads| (heads * attention.head_dim) as u64);
        match (part, trains) {
            (Part::Attention, false) => 3 * h + 3 * q + 3 * kv,
            (Part::Attention, true) => 5 * h + 5 * q + 5 * kv,
            (Part::Mlp, false) => 3 * h + 3 * i,
            (Part::Mlp, true) => 5 * h + 6 * i,
        }
    }

    /// Hidden states of the calibration windows, or what of them is on its way from the disk.
    pub(super) fn states(&self, bytes: u64) -> Item {
        if !self.on_disk {
            return Item { name: "hidden states of the calibration windows", bytes };
        }
        let row = self.spec.hidden as u64 * self.plan.compute.hidden_states.bytes();
        let moving = (self.batch_tokens() * row).min(self.stream()).min(bytes);
        Item { name: "hidden states on their way from the disk", bytes: moving }
    }

    /// Bytes of all streams of hidden states.
    fn streams(&self) -> u64 {
        let second = self.schedule.dense_stream || self.plan.calibration.inputs == Inputs::Dense;
        // a window that is pruned piece by piece remembers where it began
        let start = self.schedule.steps(1).iter().any(|step| matches!(step, Step::Preview(_)));
        let streams = if self.schedule.calibrates { 1 + u64::from(second) + u64::from(start) } else { 0 };
        streams * self.stream()
    }

    /// Bytes of one stream.
    pub(super) fn stream(&self) -> u64 {
        (self.windows * self.seqlen * self.spec.hidden) as u64 * self.plan.compute.hidden_states.bytes()
    }

    /// Bytes that wait on the disk; a stream that moves on is there twice for a while.
    pub(super) fn scratch(&self) -> u64 {
        self.streams().max(self.retraining_streams()) + self.stream() + self.captured_bytes() + self.copies()
    }

    /// Dense and pruned weights of a block, with masks; of the blocks of a window before it only what is kept.
    /// A window that trains has let go of the dense weights.
    fn block(&self, trains: bool) -> Item {
        let weights = self.weights(Part::Attention) + self.weights(Part::Mlp);
        let before = self.span() - 1;
        let dense = if trains && self.plan.reconstruction.granularity != Granularity::Matrix { 0 } else { F32 };
        let name = match (before, dense) {
            (0, 0) => "one block with its masks",
            (0, _) => "one block, dense and pruned, with its masks",
            _ => "blocks of a window with their masks",
        };
        Item { name, bytes: weights * (dense + F32 + 1) + before * weights * (F32 + 1) }
    }

    /// Gram matrices of the inputs of a block, packed f64, and the factors of their inverses, for those who need them. A half that
    /// has trained lets go of its own.
    fn grams(&self, needs: Needs) -> Item {
        let gram = |n: u64| n * (n + 1) / 2 * 8;
        let factor = |n: u64| if needs == Needs::InverseHessian { n * n * F32 } else { 0 };
        let half = |part| self.inputs(part).into_iter().map(|n| gram(n) + factor(n)).sum::<u64>();
        let [attention, mlp] = [Part::Attention, Part::Mlp].map(half);
        let by_half = self.plan.reconstruction.granularity == Granularity::Submodule
            && self.plan.pruning.granularity == PruningGranularity::Submodule;
        let bytes = if by_half { attention.max(mlp) } else { attention + mlp };
        Item { name: "Gram matrices of the inputs at hand", bytes: if needs >= Needs::Gram { bytes } else { 0 } }
    }

    /// A pass over the dense model: one stream of the windows that train, a block, and its scores.
    fn surveying(&self, needs: Needs) -> Phase {
        let parts = [Part::Attention, Part::Mlp];
        let bytes = self.plan.compute.hidden_states.bytes();
        let numbers = (self.plan.calibration.samples * self.seqlen * self.spec.hidden) as u64;
        let states = if needs == Needs::Nothing { 0 } else { numbers * bytes };
        let activations = parts.map(|part| self.activations(part, false)).into_iter().max().unwrap_or(0);
        let activations = activations * self.batch_tokens() * F32;
        let weights: u64 = parts.map(|part| self.weights(part)).iter().sum();
        let items = vec![
            self.states(states),
            Item { name: "one block", bytes: weights * F32 },
            Item { name: "scores of a block", bytes: weights * F32 },
            Item { name: "activations of one batch", bytes: activations.max(self.inverting(needs)) },
            self.grams(needs),
        ];
        Phase { name: "surveying the dense model", items }
    }

    /// The widest Hessian, factorised and inverted in f64; one input after another.
    fn inverting(&self, needs: Needs) -> u64 {
        let inputs = [Part::Attention, Part::Mlp].into_iter().flat_map(|part| self.inputs(part));
        let widest = inputs.max().unwrap_or(0);
        if needs == Needs::InverseHessian { 2 * widest * widest * 8 } else { 0 }
    }

    /// Tokens of a forward pass.
    fn batch_tokens(&self) -> u64 {
        (AT_ONCE * self.seqlen * batch(self.seqlen)) as u64
    }

    pub(super) fn phases(&self, texts: Texts) -> Vec<Phase> {
        let mut phases = vec![Phase { name: "reading the texts", items: Vec::new() }];
        phases.extend(self.schedule.survey.map(|needs| self.surveying(needs)));
        if self.schedule.calibrates && self.schedule.needs != Needs::Nothing {
            phases.push(self.compressing("calibrating a block", false, self.calibrating()));
        }
        phases.push(self.compressing("choosing and compensating in a block", false, self.solving()));
        if self.trains() {
            phases.push(self.compressing("training a window", true, self.training()));
        }
        if self.plan.retraining.objective != RetrainingObjective::None {
            phases.push(Phase { name: "training the whole model", items: self.retraining() });
        }
        if texts.scored_tokens > 0 {
            let states = self.scored_states(texts.scored_tokens);
            phases.push(Phase {
                name: "scoring: the blocks",
                items: [vec![states.clone()], self.scoring_blocks(texts.scored_tokens)].concat(),
            });
            phases.push(Phase {
                name: "scoring: the head",
                items: [vec![states], self.scoring_head(texts.scored_tokens)].concat(),
            });
        }
        phases.into_iter().map(|phase| phase.with_surroundings(texts.largest_bytes)).collect()
    }

    /// A phase of pruning a block: `own` beside what all of them hold.
    fn compressing(&self, name: &'static str, trains: bool, own: Vec<Item>) -> Phase {
        let grams = self.grams(self.schedule.needs);
        Phase { name, items: [vec![self.states(self.streams()), self.block(trains), grams], own].concat() }
    }

    /// A forward pass over one batch, and the f32 sums of the Gram matrices at hand.
    fn calibrating(&self) -> Vec<Item> {
        let (tokens, parts) = (self.batch_tokens(), [Part::Attention, Part::Mlp]);
        let activations = parts.map(|part| self.activations(part, false)).into_iter().max().unwrap_or(0) * tokens * F32;
        let sums = |part| self.inputs(part).into_iter().map(|n| n * n * F32).sum::<u64>();
        let together =
            self.schedule.steps(1).iter().any(|step| matches!(step, Step::Prune(_, group) if group.len() > 1));
        let [attention, mlp] = parts.map(sums);
        let sums = if together { attention + mlp } else { attention.max(mlp) };
        let sums = if self.schedule.needs >= Needs::Gram { sums } else { 0 };
        vec![
            Item { name: "activations of one batch", bytes: activations.max(self.inverting(self.schedule.needs)) },
            Item { name: "sums of Gram matrices in progress", bytes: sums },
        ]
    }

    /// The workspace of the largest matrix: copies of the weight, and of the Gram matrix for a compensation.
    fn solving(&self) -> Vec<Item> {
        let workspace = |role| {
            let (d_out, d_in) = self.spec.shape(role);
            let (weights, square) = ((d_out * d_in) as u64, (d_in * d_in) as u64);
            match self.schedule.needs {
                Needs::Gram | Needs::InverseHessian => {
                    let slab = weights.min(SLAB as u64);
                    // a solver's vectors; then a candidate, the masked weight, their differences from the weight, and an image
                    let (solving, judging) = (square + 4 * slab + 2 * weights, square + 4 * weights + slab);
                    let walking = if self.schedule.needs == Needs::Gram { 0 } else { 2 * square + 5 * weights };
                    weights + F32 * solving.max(judging).max(walking)
                }
                Needs::Nothing | Needs::ColumnNorms => weights + F32 * 3 * weights,
            }
        };
        let bytes = LinearRole::ALL.into_iter().map(workspace).max().unwrap_or(0);
        vec![Item { name: "workspace for the largest matrix", bytes }]
    }

    /// Hidden states of a group of windows.
    fn scored_states(&self, scored_tokens: usize) -> Item {
        let (length, row) = (self.plan.evaluation_seqlen(self.spec) as u64, self.spec.hidden as u64 * F32);
        let bytes = (group_bytes(self.spec) as u64).max(length * row).min(scored_tokens as u64 * row);
        Item { name: "hidden states of a group of windows", bytes }
    }

    /// Tokens of the windows that go through a block together.
    fn scored_batch(&self) -> usize {
        self.plan.evaluation_seqlen(self.spec).max(BATCH_ROWS)
    }

    fn scoring_blocks(&self, scored_tokens: usize) -> Vec<Item> {
        let rows = (AT_ONCE * self.scored_batch()).min(scored_tokens) as u64;
        let weights = self.weights(Part::Attention) + self.weights(Part::Mlp);
        let activations = self.activations(Part::Mlp, false).max(self.activations(Part::Attention, false));
        vec![
            Item { name: "one block", bytes: weights * F32 },
            Item { name: "activations of the windows at hand", bytes: activations * rows * F32 },
        ]
    }

    fn scoring_head(&self, scored_tokens: usize) -> Vec<Item> {
        let [rows, tokens] = [HEAD_ROWS, HEAD_TOKENS];
        let (h, rows) = (self.spec.hidden, rows.min(self.spec.vocabulary));
        let met = scored_tokens.min(HEAD_BATCHES * self.scored_batch());
        let f32s = |count: usize| count as u64 * F32;
        vec![
            Item { name: "a slice of the head and its logits", bytes: f32s(rows * (h + tokens)) },
            Item { name: "states that meet the head, before and after the norm", bytes: f32s(2 * met * h) },
        ]
    }
}
