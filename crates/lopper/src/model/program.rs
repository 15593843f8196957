//! What a branch of a block computes: a straight line of operations over the block's tensors.

use std::ops::Range;
use std::sync::Arc;

use lopper_kernels::{Activation, ClampedGate};

use crate::autograd::{AttentionLayout, DeltaHeads, Part, Routing, ScanHeads};

/// How a norm measures a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// By its root mean square.
    Rms,
    /// By its mean and its deviation from it.
    Layer,
}

/// One operation. Tensors and linear layers are places in the lists of the block.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A norm of every `width` entries: of a token, or of a head of it, or of a group.
    Norm {
        /// How it measures.
        kind: NormKind,
        /// What it multiplies by, as wide or as wide as a token; ones if absent.
        weight: Option<usize>,
        /// What it adds; nothing if absent.
        bias: Option<usize>,
        /// Entries that are normed together.
        width: usize,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// A linear layer: the only operation whose input a tap sees.
    Linear(usize),
    /// Some columns, one range after the other: a part of a fused projection.
    Columns(Arc<[Range<usize>]>),
    /// Columns of several values, one after the other, with zeros between. Where one of them has rotary positions, only attention can read
    /// what it gives.
    Join(Arc<[Part]>),
    /// Rotary positions by one of the decoder's tables. Only attention can read what it gives, or a norm or a join that only attention reads.
    Rotary {
        /// Width of one head.
        head_dim: usize,
        /// Which of the decoder's tables.
        table: usize,
    },
    /// Causal attention of queries, keys and values.
    Attention {
        /// How heads lie in them, and what they see.
        layout: AttentionLayout,
        /// Place of a score for each head that belongs to no key `[heads]`.
        sinks: Option<usize>,
    },
    /// A function of every entry.
    Activate(Activation),
    /// `f(gate) · up`
    Gated(Activation),
    /// The same of gates and what they gate by turns, both within bounds.
    ClampedGate(ClampedGate),
    /// Every entry times a factor.
    Scale(f32),
    /// Every entry times one number of a tensor.
    Times {
        /// Place of the tensor.
        factors: usize,
        /// Which of its numbers.
        which: usize,
    },
    /// Every entry within ± a bound.
    Clamp(f32),
    /// Causal convolution of every channel.
    Convolution {
        /// Place of the filter [channels, 1, taps].
        weight: usize,
        /// Place of what is added.
        bias: Option<usize>,
    },
    /// The selective scan of x, steps before their softplus, B and C.
    Scan {
        /// Place of the logarithm of −A [channels, states].
        decay: usize,
        /// Place of D `[channels]`.
        skip: usize,
    },
    /// The scan of Mamba 2 of x, steps of every head before their bias and softplus, B and C.
    HeadScan {
        /// Place of the logarithm of −A `[heads]`.
        decay: usize,
        /// Place of D `[heads]`.
        skip: usize,
        /// Place of what is added to the steps `[heads]`.
        bias: usize,
        /// How the channels of x are shared out.
        heads: ScanHeads,
    },
    /// The scan by the gated delta rule of queries, keys, values, steps before their bias and softplus, and strengths.
    DeltaScan {
        /// Place of the logarithm of −A `[value heads]`.
        decay: usize,
        /// Place of what is added to the steps `[value heads]`.
        bias: usize,
        /// How the columns are shared out.
        heads: DeltaHeads,
    },
    /// The sum of two values.
    Add,
    /// Products with the rows of a tensor that is no linear layer to prune: what a router goes by. Always in f32.
    Score {
        /// Place of the tensor [scores, d_in].
        weight: usize,
        /// Place of what is added.
        bias: Option<usize>,
    },
    /// The experts of every token by the scores of all, and what each of them counts.
    Route {
        /// How they are chosen.
        routing: Routing,
        /// Place of what is added to the scores where experts are chosen, and nowhere else.
        correction: Option<usize>,
    },
    /// The rows of the first value that the second one, routes, sends to an expert.
    Reaching {
        /// Which.
        expert: usize,
        /// Its share of the tokens, on average over the experts.
        share: f64,
    },
    /// What experts give, as the first value, routes, weights it, added up for each token. The others are theirs, in order.
    Combine,
    /// Every row of the first value times the sigmoid of the number that the second one has for it.
    GateRows,
}

/// An operation and the values that it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// What it does.
    pub operation: Operation,
    /// Value 0 is the input of the program; instruction `i` gives value `i + 1`.
    pub reads: Vec<usize>,
}

/// Instructions in order. The last one gives the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    pub(super) instructions: Vec<Instruction>,
    /// Of every value.
    pub(super) widths: Vec<usize>,
    /// Rows of every value, as a share of the tokens.
    pub(super) shares: Vec<f64>,
    /// Of every value, whether its rows are those that reach an expert.
    pub(super) of_experts: Vec<bool>,
}

impl Program {
    /// Of nothing yet, for an input of this width.
    pub(super) fn new(width: usize) -> Self {
        Self { instructions: Vec::new(), widths: vec![width], shares: vec![1.0], of_experts: vec![false] }
    }

    /// Adds an instruction that gives a value of this width; returns the value.
    pub(super) fn push(&mut self, operation: Operation, reads: Vec<usize>, width: usize) -> usize {
        let share = self.shares[reads[0]];
        self.of_experts.push(match operation {
            Operation::Reaching { .. } => true,
            Operation::Combine => false,
            _ => self.of_experts[reads[0]],
        });
        self.shares.push(if let Operation::Reaching { share: reaching, .. } = operation {
            share * reaching
        } else {
            share
        });
        self.instructions.push(Instruction { operation, reads });
        self.widths.push(width);
        self.instructions.len()
    }

    /// In order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Width of a value.
    pub fn width(&self, value: usize) -> usize {
        self.widths[value]
    }

    /// Rows of a value, as a share of the tokens.
    pub fn share(&self, value: usize) -> f64 {
        self.shares[value]
    }

    /// Numbers of a value per token.
    pub(super) fn numbers(&self, value: usize) -> usize {
        (self.widths[value] as f64 * self.shares[value]).ceil() as usize
    }

    /// Width of the output.
    pub fn output_width(&self) -> usize {
        self.widths[self.instructions.len()]
    }

    /// The place of the last linear layer.
    pub(super) fn last_linear(&self) -> Option<usize> {
        self.instructions.iter().rposition(|one| matches!(one.operation, Operation::Linear(_)))
    }

    /// Of every value, whether it is needed where only the inputs of some linear layers are wanted.
    pub(super) fn needed(&self, wanted: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut needed = vec![false; self.widths.len()];
        for (place, one) in self.instructions.iter().enumerate().rev() {
            if needed[place + 1] || matches!(one.operation, Operation::Linear(linear) if wanted(linear)) {
                one.reads.iter().for_each(|&value| needed[value] = true);
            }
        }
        needed
    }

    /// The instructions that read a value, with their places.
    pub(super) fn readers(&self, value: usize) -> impl Iterator<Item = (usize, &Instruction)> {
        self.instructions.iter().enumerate().filter(move |(_, one)| one.reads.contains(&value))
    }

    /// Whether linear layers, and nothing else, read a value.
    pub(super) fn only_linears_read(&self, value: usize) -> bool {
        value != self.instructions.len()
            && self.readers(value).all(|(_, one)| matches!(one.operation, Operation::Linear(_)))
    }

    /// The last instruction that reads each value; none where nothing does.
    pub(super) fn last_reads(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.widths.len()];
        for (place, one) in self.instructions.iter().enumerate() {
            one.reads.iter().for_each(|&value| last[value] = Some(place));
        }
        last
    }
}
