//! What running and training a block costs, from its description alone.

use super::block_spec::{BlockSpec, Branch, LinearSpec};
use super::program::{Instruction, Operation, Program};
use lopper_kernels::SCAN_CHUNK;

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
        self.first_readers(branch).map(|linear| linear.shape[1]).collect()
    }

    /// Whether a linear layer of an expert reads what was sent there as it is: the same for all experts, where all are sent the same.
    pub fn reads_as_sent(&self, linear: usize) -> bool {
        let branches = self.stages.iter().flat_map(|stage| &stage.branches);
        branches.map(|branch| branch.program.instructions()).any(|all| {
            let reader = all.iter().find(|one| matches!(one.operation, Operation::Linear(index) if index == linear));
            let made = reader.and_then(|one| one.reads[0].checked_sub(1)).map(|place| &all[place].operation);
            matches!(made, Some(Operation::Reaching { .. }))
        })
    }

    /// Numbers per token of the distinct inputs of the linear layers of a branch.
    pub fn numbers_read(&self, branch: &Branch) -> usize {
        self.first_readers(branch).map(|linear| (linear.shape[1] as f64 * linear.share).ceil() as usize).sum()
    }

    /// The linear layers of a branch that are the first to read their inputs.
    pub fn first_readers<'a>(&'a self, branch: &'a Branch) -> impl Iterator<Item = &'a LinearSpec> {
        let first = branch.linears.iter().filter(|&&linear| self.linears[linear].first_reader == linear);
        first.map(|&linear| &self.linears[linear])
    }

    /// Floating-point operations per token of a forward pass through a branch, in sequences of `length` tokens. Elementwise work is
    /// not counted.
    pub fn flops(&self, branch: &Branch, length: usize) -> f64 {
        self.flops_of(&branch.program, &vec![true; branch.program.widths.len()], length)
    }

    /// Floating-point operations per token of what the inputs of the linear layers of a branch need.
    pub fn flops_of_inputs(&self, branch: &Branch, length: usize) -> f64 {
        self.flops_of(&branch.program, &branch.program.needed(|_| true), length)
    }

    /// Numbers of a tensor.
    fn numbers_in(&self, tensor: usize) -> f64 {
        self.tensors[tensor].shape.iter().product::<usize>() as f64
    }

    /// Floating-point operations per token of what the input of one linear layer of a branch needs.
    pub fn flops_of_input(&self, branch: &Branch, linear: usize, length: usize) -> f64 {
        self.flops_of(&branch.program, &branch.program.needed(|one| one == linear), length)
    }

    /// Floating-point operations per token of what the inputs of the layers of experts need, where each is shown every token.
    pub fn flops_of_experts(&self, branch: &Branch) -> f64 {
        let needed = branch.program.needed(|linear| self.linears[linear].of_expert);
        let all = branch.program.instructions().iter().zip(&needed[1..]).filter(|(_, needed)| **needed);
        let of = |operation: &Operation| match operation {
            Operation::Linear(linear) if self.linears[*linear].of_expert => {
                2.0 * self.linears[*linear].weights() as f64
            }
            _ => 0.0,
        };
        all.map(|(one, _)| of(&one.operation)).sum()
    }

    fn flops_of(&self, program: &Program, needed: &[bool], length: usize) -> f64 {
        let of = |Instruction { operation, reads }: &Instruction| match operation {
            &Operation::Linear(linear) => 2.0 * self.linears[linear].weights() as f64,
            // of every state e^(ΔA), which counts as four, and three products with a sum
            &Operation::Scan { decay, .. } => 10.0 * self.numbers_in(decay),
            Operation::HeadScan { heads, .. } => {
                let [x, _, ways] = [0, 1, 2].map(|place| program.width(reads[place]));
                let states = ways / heads.groups;
                // C·Bᵀ within chunks, its product with x, and what goes into and comes out of the states
                2.0 * (SCAN_CHUNK * (ways + x) + 2 * states * x) as f64
            }
            Operation::DeltaScan { heads, .. } => {
                let [keys, _, values] = [0, 1, 2].map(|place| program.width(reads[place]));
                // K·Kᵀ and Q·Kᵀ within chunks, the half of a solve and a product with changes, and what the states find, give and take
                (SCAN_CHUNK * (4 * keys + 3 * values) + 6 * keys / heads.keys * values) as f64
            }
            &Operation::Convolution { weight, .. } | &Operation::Score { weight, .. } => 2.0 * self.numbers_in(weight),
            // scores and their product with the values, over the half of the square that is causal
            Operation::Attention { layout, .. } => 2.0 * (layout.heads * layout.head_dim * length) as f64,
            Operation::Norm { .. }
            | Operation::Columns(_)
            | Operation::Join(_)
            | Operation::Rotary { .. }
            | Operation::Activate(_)
            | Operation::Gated(_)
            | Operation::ClampedGate(_)
            | Operation::Scale(_)
            | Operation::Times { .. }
            | Operation::Clamp(_)
            | Operation::Add
            | Operation::Route { .. }
            | Operation::Reaching { .. }
            | Operation::Combine
            | Operation::GateRows => 0.0,
        };
        let all = program.instructions().iter().zip(&needed[1..]).filter(|(_, needed)| **needed);
        all.map(|(one, _)| of(one) * program.share(one.reads[0])).sum()
    }
}

impl Program {
    /// Numbers per token that a forward pass holds at most: every value from where it is computed to where it is last read, and the
    /// states with what has been added to them.
    pub fn numbers_forward(&self) -> usize {
        let last_reads = self.last_reads();
        let alive = |place: usize| {
            let held = (1..=place).filter(|&value| last_reads[value].is_some_and(|last| last >= place));
            held.map(|value| self.numbers(value)).sum::<usize>()
                + self.numbers(place + 1)
                + self.numbers_of_states(place)
        };
        let peak = (0..self.instructions.len()).map(alive).max().unwrap_or(0);
        peak + 2 * self.widths[0]
    }

    /// Numbers per token of the states that a scan by heads or by the delta rule keeps of every chunk.
    fn numbers_of_states(&self, place: usize) -> usize {
        let Instruction { operation, reads } = &self.instructions[place];
        let states = match operation {
            Operation::HeadScan { heads, .. } => self.numbers(reads[0]) * self.width(reads[2]) / heads.groups,
            Operation::DeltaScan { heads, .. } => self.numbers(reads[2]) * self.width(reads[0]) / heads.keys,
            _ => return 0,
        };
        states.div_ceil(SCAN_CHUNK)
    }

    /// Numbers per token that a forward and backward pass holds at most: what operations keep for the way back, the output, its
    /// target and its gradient, and the gradients of one operation.
    pub fn numbers_training(&self) -> usize {
        let mut kept = vec![false; self.widths.len()];
        for (place, one) in self.instructions.iter().enumerate() {
            match one.operation {
                Operation::Columns(_)
                | Operation::Join(_)
                | Operation::Rotary { .. }
                | Operation::Scale(_)
                | Operation::Add
                | Operation::Reaching { .. } => {}
                Operation::Attention { .. } => {
                    kept[place + 1] = true;
                    one.reads.iter().for_each(|&value| kept[value] = true);
                }
                Operation::Norm { .. }
                | Operation::Linear(_)
                | Operation::Activate(_)
                | Operation::Gated(_)
                | Operation::ClampedGate(_)
                | Operation::Times { .. }
                | Operation::Clamp(_)
                | Operation::Convolution { .. }
                | Operation::Scan { .. }
                | Operation::HeadScan { .. }
                | Operation::DeltaScan { .. }
                | Operation::Score { .. }
                | Operation::Route { .. }
                | Operation::Combine
                | Operation::GateRows => {
                    one.reads.iter().for_each(|&value| kept[value] = true);
                }
            }
        }
        let kept: usize = (0..kept.len()).filter(|&value| kept[value]).map(|value| self.numbers(value)).sum();
        let gradients = self.instructions.iter().enumerate().map(|(place, one)| {
            let plain = self.numbers(place + 1) + one.reads.iter().map(|&value| self.numbers(value)).sum::<usize>();
            match one.operation {
                // gradients of x, steps, ways in and ways out by groups of channels, and the states that are kept
                Operation::Scan { .. } => plain + 7 * self.numbers(place + 1),
                _ => plain + self.numbers_of_states(place),
            }
        });
        let states = (0..self.instructions.len()).map(|place| self.numbers_of_states(place));
        kept + states.sum::<usize>() + 3 * self.output_width() + gradients.max().unwrap_or(0)
    }
}
