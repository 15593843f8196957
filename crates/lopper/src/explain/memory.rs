//! Bytes by phase: what is alive at one time in the code of each stage.

use serde::Serialize;

use super::Sizes;
use crate::calibration::{HiddenDtype, Needs};
use crate::model::{LinearRole, Part};
use crate::plan::Inputs;
use crate::schedule::Step;

/// Bytes of an f32.
const F32: u64 = 4;
/// The program itself, its threads and a tokenizer, in bytes.
const PROGRAM: u64 = 48 << 20;
/// Tokens per forward pass for statistics (as in `prune::compress`).
const BATCH_TOKENS: usize = 2048;
/// Bytes of hidden states held during evaluation (as in `evaluation::perplexity`).
const EVALUATION_BYTES: u64 = 192 << 20;
/// Sequences, rows and tokens that meet at the head (as in `evaluation::perplexity` and `model::decoder`).
const HEAD: [usize; 3] = [8, 8192, 512];
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
}

impl Sizes<'_> {
    /// Numbers per token that a forward pass of one half holds; with those of the backward pass if it trains.
    fn activations(&self, part: Part, trains: bool) -> u64 {
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

    /// All streams of hidden states.
    fn streams(&self) -> Item {
        let bytes = if self.plan.compute.hidden_states == HiddenDtype::Bf16 { 2 } else { F32 };
        let second = self.schedule.dense_stream || self.plan.calibration.inputs == Inputs::Dense;
        let streams = if self.schedule.calibrates { 1 + u64::from(second) } else { 0 };
        let tokens = (self.windows * self.seqlen) as u64;
        Item {
            name: "hidden states of the calibration windows",
            bytes: streams * tokens * self.spec.hidden as u64 * bytes,
        }
    }

    fn program() -> Item {
        Item { name: "the program, its threads, the tokenizer", bytes: PROGRAM }
    }

    /// Dense and pruned weights of a block, with masks.
    fn block(&self) -> Item {
        let weights = self.weights(Part::Attention) + self.weights(Part::Mlp);
        Item { name: "one block, dense and pruned, with its masks", bytes: weights * (2 * F32 + 1) }
    }

    /// Gram matrices of all inputs of a block, packed f64.
    fn grams(&self) -> u64 {
        let each = |n: u64| n * (n + 1) / 2 * 8;
        let all = [Part::Attention, Part::Mlp].into_iter().flat_map(|part| self.inputs(part));
        if self.schedule.needs == Needs::Gram { all.map(each).sum() } else { 0 }
    }

    pub(super) fn phases(&self, scores: bool) -> Vec<Phase> {
        let mut phases = Vec::new();
        if self.schedule.calibrates && self.schedule.needs != Needs::Nothing {
            phases.push(self.phase("calibrating a block", self.calibrating()));
        }
        phases.push(self.phase("choosing and compensating in a block", self.solving()));
        if self.trains() {
            phases.push(self.phase("training half a block", self.training()));
        }
        if scores {
            phases.push(Phase { name: "scoring texts", items: self.scoring() });
        }
        phases
    }

    fn phase(&self, name: &'static str, own: Vec<Item>) -> Phase {
        let grams = Item { name: "Gram matrices of the block's inputs", bytes: self.grams() };
        let mut items = vec![Self::program(), self.streams(), self.block(), grams];
        items.extend(own);
        items.retain(|item| item.bytes > 0);
        Phase { name, items }
    }

    /// A forward pass over one batch, and the f32 sums of the Gram matrices at hand.
    fn calibrating(&self) -> Vec<Item> {
        let tokens = (self.seqlen * (BATCH_TOKENS / self.seqlen.max(1)).max(1)) as u64;
        let parts = [Part::Attention, Part::Mlp];
        let activations = parts.map(|part| self.activations(part, false)).into_iter().max().unwrap_or(0) * tokens * F32;
        let sums = |part| self.inputs(part).into_iter().map(|n| n * n * F32).sum::<u64>();
        let together = self.schedule.steps.iter().any(|step| matches!(step, Step::Prune(group) if group.len() > 1));
        let [attention, mlp] = parts.map(sums);
        let sums = if together { attention + mlp } else { attention.max(mlp) };
        let sums = if self.schedule.needs == Needs::Gram { sums } else { 0 };
        vec![
            Item { name: "activations of one batch", bytes: activations },
            Item { name: "sums of Gram matrices in progress", bytes: sums },
        ]
    }

    /// The workspace of the largest matrix: copies of the weight, and of the Gram matrix for a compensation.
    fn solving(&self) -> Vec<Item> {
        let workspace = |role| {
            let (d_out, d_in) = self.spec.shape(role);
            let (weights, square) = ((d_out * d_in) as u64, (d_in * d_in) as u64);
            match self.schedule.needs {
                Needs::Gram => weights + F32 * (square + 6 * weights).max(2 * square + 5 * weights),
                Needs::Nothing | Needs::ColumnNorms => weights + F32 * 3 * weights,
            }
        };
        let bytes = LinearRole::ALL.into_iter().map(workspace).max().unwrap_or(0);
        vec![Item { name: "workspace for the largest matrix", bytes }]
    }

    /// Snapshot, gradients and moments of the half at hand, and the activations of one batch.
    fn training(&self) -> Vec<Item> {
        let parts = [Part::Attention, Part::Mlp];
        let weights = parts.map(|part| self.weights(part)).into_iter().max().unwrap_or(0);
        let tokens = (self.plan.reconstruction.batch * self.seqlen) as u64;
        let activations = parts.map(|part| self.activations(part, true)).into_iter().max().unwrap_or(0);
        vec![
            Item { name: "a copy to fall back on", bytes: weights * F32 },
            Item { name: "gradients", bytes: weights * F32 },
            Item { name: "AdamW's two moments", bytes: 2 * weights * F32 },
            Item { name: "activations of one batch, forward and backward", bytes: activations * tokens * F32 },
        ]
    }

    /// A group of windows, one block, and a slice of the head. Calibration has ended, or not begun.
    fn scoring(&self) -> Vec<Item> {
        let [sequences, rows, tokens] = HEAD.map(|count| count as u64);
        let (length, h) = (self.plan.evaluation_seqlen(self.spec) as u64, self.spec.hidden as u64);
        let rows = rows.min(self.spec.vocabulary as u64);
        let weights = self.weights(Part::Attention) + self.weights(Part::Mlp);
        let activations = self.activations(Part::Mlp, false).max(self.activations(Part::Attention, false));
        vec![
            Self::program(),
            Item { name: "hidden states of a group of windows", bytes: EVALUATION_BYTES.max(length * h * F32) },
            Item { name: "one block", bytes: weights * F32 },
            Item { name: "activations of one window", bytes: activations * length * F32 },
            Item {
                name: "a slice of the head and its logits",
                bytes: F32 * (rows * (h + tokens) + 2 * sequences * length * h),
            },
        ]
    }
}
