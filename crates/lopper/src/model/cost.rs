//! What running and training a block costs, from its description alone.

use super::block_spec::{BlockSpec, Branch, LinearSpec};
use super::program::{Operation, Program};

impl BlockSpec {
    /// The linear layers of a branch.
    pub fn linears_of<'a>(&'a self, branch: &'a Branch) -> impl Iterator<Item = &'a LinearSpec> {
        branch.linears.iter().map(|&linear| &self.linears[linear])
    }

    /// Weights of the linear layers of a branch.
    pub fn branch_weights(&self, branch: &Branch) -> usize {
        self.linears_of(branch).map(LinearSpec::weights).sum()
    }

    /// Widths of the distinct inputs of the linear layers of a branch.
    pub fn inputs_of(&self, branch: &Branch) -> Vec<usize> {
        let first = branch.linears.iter().filter(|&&linear| self.linears[linear].first_reader == linear);
        first.map(|&linear| self.linears[linear].shape[1]).collect()
    }

    /// Floating-point operations per token of a forward pass through a branch, in sequences of `length` tokens. Elementwise work is
    /// not counted.
    pub fn flops(&self, branch: &Branch, length: usize) -> f64 {
        self.flops_of(&branch.program, branch.program.instructions().len(), length)
    }

    /// The same as far as the input of the last linear layer.
    pub fn flops_to_last_input(&self, branch: &Branch, length: usize) -> f64 {
        self.flops_of(&branch.program, branch.program.last_linear().unwrap_or(0), length)
    }

    fn flops_of(&self, program: &Program, count: usize, length: usize) -> f64 {
        let of = |operation: &Operation| match operation {
            &Operation::Linear(linear) => 2.0 * self.linears[linear].weights() as f64,
            // scores and their product with the values, over the half of the square that is causal
            Operation::Attention(layout) => 2.0 * (layout.heads * layout.head_dim * length) as f64,
            Operation::Norm { .. }
            | Operation::Columns(_)
            | Operation::Rotary { .. }
            | Operation::Activate(_)
            | Operation::Gated(_)
            | Operation::Scale(_)
            | Operation::Clamp(_) => 0.0,
        };
        program.instructions()[..count].iter().map(|one| of(&one.operation)).sum()
    }
}

impl Program {
    /// Numbers per token that a forward pass holds at most: every value from where it is computed to where it is last read, and the
    /// states with what has been added to them.
    pub fn numbers_forward(&self) -> usize {
        let last_reads = self.last_reads();
        let alive = |place: usize| {
            let held = (1..=place).filter(|&value| last_reads[value].is_some_and(|last| last >= place));
            held.map(|value| self.widths[value]).sum::<usize>() + self.widths[place + 1]
        };
        let peak = (0..self.instructions.len()).map(alive).max().unwrap_or(0);
        peak + 2 * self.widths[0]
    }

    /// Numbers per token that a forward and backward pass holds at most: what operations keep for the way back, the output, its
    /// target and its gradient, and the gradients of one operation.
    pub fn numbers_training(&self) -> usize {
        let mut kept = vec![false; self.widths.len()];
        for (place, one) in self.instructions.iter().enumerate() {
            match one.operation {
                Operation::Columns(_) | Operation::Rotary { .. } | Operation::Scale(_) => {}
                Operation::Attention(_) => {
                    kept[place + 1] = true;
                    one.reads.iter().for_each(|&value| kept[value] = true);
                }
                Operation::Norm { .. }
                | Operation::Linear(_)
                | Operation::Activate(_)
                | Operation::Gated(_)
                | Operation::Clamp(_) => {
                    one.reads.iter().for_each(|&value| kept[value] = true);
                }
            }
        }
        let kept: usize = self.widths.iter().zip(kept).filter_map(|(width, kept)| kept.then_some(width)).sum();
        let gradients = self.instructions.iter().enumerate().map(|(place, one)| {
            self.widths[place + 1] + one.reads.iter().map(|&value| self.widths[value]).sum::<usize>()
        });
        kept + 3 * self.output_width() + gradients.max().unwrap_or(0)
    }
}
