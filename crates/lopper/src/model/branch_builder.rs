//! How a family writes a branch down: operation by operation, each value a number.

use std::ops::Range;

use lopper_kernels::{Activation, ClampedGate};

use super::block_spec::{BlockSpec, Branch, Kind, LinearSpec, TensorSpec};
use super::form::Form;
use super::norm::{Norm, add_norm};
use super::program::{Instruction, NormKind, Operation, Program};
use crate::autograd::{AttentionLayout, DeltaHeads, Part, Routing, ScanHeads};

/// A branch in the making.
pub struct BranchBuilder<'a> {
    pub(super) spec: &'a mut BlockSpec,
    /// How the file holds the weights of the linear layers to come.
    pub weights: Form,
    pub(super) name: &'static str,
    pub(super) program: Program,
    pub(super) linears: Vec<usize>,
    pub(super) others: Vec<usize>,
    /// Numbers per token that a runtime keeps of it, where those are not its keys and values.
    pub cached: Option<usize>,
}

impl BranchBuilder<'_> {
    /// The states that the branch reads.
    pub const INPUT: usize = 0;

    /// A norm over the whole width of a value.
    pub fn norm(&mut self, x: usize, norm: Norm, name: &str) -> usize {
        self.norm_of(x, norm, name, self.program.width(x))
    }

    /// A norm of every `width` entries of a value: of each head.
    pub fn norm_of(&mut self, x: usize, norm: Norm, name: &str, width: usize) -> usize {
        let (operation, tensors) = add_norm(self.spec, norm, name, width);
        self.others.extend(tensors);
        self.program.push(operation, vec![x], self.program.width(x))
    }

    /// A norm over each of some groups of a value, with weights of their own.
    pub fn norm_by_group(&mut self, x: usize, norm: Norm, name: &str, groups: usize) -> usize {
        let y = self.norm(x, norm, name);
        if let Some(Instruction { operation: Operation::Norm { width, .. }, .. }) = self.program.instructions.last_mut()
        {
            *width /= groups;
        }
        y
    }

    /// A norm of what a router reads, by a weight of this name that belongs to the router.
    pub fn norm_of_router(&mut self, x: usize, epsilon: f32, weight: &str) -> usize {
        let width = self.program.width(x);
        let weight = Some(self.special(weight.into(), vec![width], Kind::Router));
        self.program.push(Operation::Norm { kind: NormKind::Rms, weight, bias: None, width, epsilon }, vec![x], width)
    }

    /// A linear layer of this role, whose tensors are `name`.weight and, if it has one, `name`.bias.
    pub fn linear(&mut self, x: usize, role: &'static str, name: &str, d_out: usize, bias: bool) -> usize {
        let bias = bias.then(|| format!("{name}.bias"));
        self.linear_named(x, role, (format!("{name}.weight"), bias), d_out)
    }

    /// A linear layer of this role, its weight and, if it has one, its bias of these names.
    pub fn linear_named(
        &mut self,
        x: usize,
        role: &'static str,
        (weight, bias): (String, Option<String>),
        d_out: usize,
    ) -> usize {
        let (shape, index) = ([d_out, self.program.width(x)], self.spec.linears.len());
        let mut add = |name: String, shape: &[usize], kind, form| {
            self.spec.tensors.push(TensorSpec { name, shape: shape.to_vec(), kind, form, rows: None });
            self.spec.tensors.len() - 1
        };
        let weight = add(weight, &shape, Kind::Weight, self.weights);
        let bias = bias.map(|bias| add(bias, &[d_out], Kind::Bias, Form::Plain));
        let first = self.program.readers(x).find_map(|(_, one)| match one.operation {
            Operation::Linear(linear) => Some(linear),
            _ => None,
        });
        let (first_reader, share, of_expert) =
            (first.unwrap_or(index), self.program.share(x), self.program.of_experts[x]);
        self.spec.linears.push(LinearSpec { role, weight, bias, shape, first_reader, of_expert, share });
        self.linears.push(index);
        self.program.push(Operation::Linear(index), vec![x], d_out)
    }

    /// Some columns of a value, one range after the other.
    pub fn columns(&mut self, x: usize, columns: impl IntoIterator<Item = Range<usize>>) -> usize {
        let columns: Vec<_> = columns.into_iter().collect();
        let width = columns.iter().map(Range::len).sum();
        self.program.push(Operation::Columns(columns.into()), vec![x], width)
    }

    /// A value in pieces of these widths, one after the other.
    pub fn split<const N: usize>(&mut self, x: usize, widths: [usize; N]) -> [usize; N] {
        let mut start = 0;
        widths.map(|width| {
            start += width;
            self.columns(x, Some(start - width..start))
        })
    }

    /// Queries, keys and values of a fused projection in which the queries that share a key stand before it and its value.
    pub fn by_head(&mut self, fused: usize, heads: usize, kv_heads: usize, head_dim: usize) -> [usize; 3] {
        let sharing = heads / kv_heads;
        [0..sharing, sharing..sharing + 1, sharing + 1..sharing + 2].map(|place| {
            let start = |group: usize| group * (sharing + 2) * head_dim;
            let of = |group: usize| start(group) + place.start * head_dim..start(group) + place.end * head_dim;
            self.columns(fused, (0..kv_heads).map(of))
        })
    }

    /// Columns of some values, one after the other, with zeros between.
    pub fn join(&mut self, values: &[usize], parts: impl IntoIterator<Item = Part>) -> usize {
        let parts: Vec<Part> = parts.into_iter().collect();
        let width = parts.iter().map(Part::width).sum();
        self.program.push(Operation::Join(parts.into()), values.to_vec(), width)
    }

    /// Width of a value.
    pub fn width(&self, x: usize) -> usize {
        self.program.width(x)
    }

    /// Rotary positions by a table of the decoder.
    pub fn rotary(&mut self, x: usize, head_dim: usize, table: usize) -> usize {
        self.program.push(Operation::Rotary { head_dim, table }, vec![x], self.program.width(x))
    }

    /// Causal attention of queries, keys and values.
    pub fn attention(&mut self, inputs: [usize; 3], layout: AttentionLayout) -> usize {
        self.attention_with(inputs, layout, None)
    }

    /// The same, where heads may have sinks; their name.
    pub fn attention_with(&mut self, inputs: [usize; 3], layout: AttentionLayout, sinks: Option<&str>) -> usize {
        let [width, ..] = layout.widths();
        let sinks = sinks.map(|name| self.special(name.into(), vec![layout.heads], Kind::Sink));
        self.program.push(Operation::Attention { layout, sinks }, inputs.to_vec(), width)
    }

    /// A function of every entry.
    pub fn activate(&mut self, x: usize, kind: Activation) -> usize {
        self.program.push(Operation::Activate(kind), vec![x], self.program.width(x))
    }

    /// `f(gate) · up`
    pub fn gated(&mut self, kind: Activation, gate: usize, up: usize) -> usize {
        self.program.push(Operation::Gated(kind), vec![gate, up], self.program.width(up))
    }

    /// A clamped gate of gates and what they gate by turns.
    pub fn clamped_gate(&mut self, gate: ClampedGate, pairs: usize) -> usize {
        self.program.push(Operation::ClampedGate(gate), vec![pairs], self.program.width(pairs) / 2)
    }

    /// Every entry times a factor; the value itself without one.
    pub fn scale(&mut self, x: usize, factor: Option<f32>) -> usize {
        let Some(factor) = factor else { return x };
        self.program.push(Operation::Scale(factor), vec![x], self.program.width(x))
    }

    /// Every entry times number `which` of a tensor.
    pub fn times(&mut self, x: usize, factors: usize, which: usize) -> usize {
        self.program.push(Operation::Times { factors, which }, vec![x], self.program.width(x))
    }

    /// What the output of each expert is multiplied by, under this name: the place of the tensor.
    pub fn factors(&mut self, name: &str, experts: usize) -> usize {
        self.special(name.into(), vec![experts], Kind::Router)
    }

    /// Every entry within ± a bound.
    pub fn clamp(&mut self, x: usize, bound: f32) -> usize {
        self.program.push(Operation::Clamp(bound), vec![x], self.program.width(x))
    }

    /// `a + b`
    pub fn add(&mut self, a: usize, b: usize) -> usize {
        self.program.push(Operation::Add, vec![a, b], self.program.width(a))
    }

    /// What a router goes by: products of a value with the rows of `name`.weight, and `name`.bias if it has one.
    pub fn score(&mut self, x: usize, name: &str, scores: usize, bias: bool) -> usize {
        let width = self.program.width(x);
        let weight = self.special(format!("{name}.weight"), vec![scores, width], Kind::Router);
        let bias = bias.then(|| self.special(format!("{name}.bias"), vec![scores], Kind::Router));
        self.program.push(Operation::Score { weight, bias }, vec![x], scores)
    }

    /// Routes by these scores. `correction` is the name of what is added to them where experts are chosen.
    pub fn route(&mut self, scores: usize, routing: Routing, correction: Option<&str>) -> usize {
        // no gradient reaches it
        let correction = correction.map(|name| self.tensor(name.into(), vec![routing.experts], Kind::Router));
        self.program.push(Operation::Route { routing, correction }, vec![scores], routing.top_k)
    }

    /// Causal convolution of every channel of a value, by `name`.weight and, if it has one, `name`.bias.
    pub fn convolution(&mut self, x: usize, name: &str, taps: usize, bias: bool) -> usize {
        let width = self.program.width(x);
        let weight = self.special(format!("{name}.weight"), vec![width, 1, taps], Kind::Convolution);
        let bias = bias.then(|| self.special(format!("{name}.bias"), vec![width], Kind::Convolution));
        self.program.push(Operation::Convolution { weight, bias }, vec![x], width)
    }

    /// The selective scan of x, steps, B and C; tensors `decay` and `skip`.
    pub fn scan(&mut self, inputs: [usize; 4], [decay, skip]: [&str; 2]) -> usize {
        let [width, states] = [inputs[0], inputs[2]].map(|value| self.program.width(value));
        let decay = self.special(decay.into(), vec![width, states], Kind::State);
        let skip = self.special(skip.into(), vec![width], Kind::State);
        self.program.push(Operation::Scan { decay, skip }, inputs.to_vec(), width)
    }

    /// The scan of Mamba 2 of x, steps, B and C; tensors `decay`, `skip` and `bias`.
    pub fn head_scan(&mut self, inputs: [usize; 4], names: [&str; 3], heads: ScanHeads) -> usize {
        let width = self.program.width(inputs[0]);
        let [decay, skip, bias] = names.map(|name| self.special(name.into(), vec![heads.heads], Kind::State));
        self.program.push(Operation::HeadScan { decay, skip, bias, heads }, inputs.to_vec(), width)
    }

    /// The scan by the gated delta rule of queries, keys, values, steps and strengths; tensors `decay` and `bias`.
    pub fn delta_scan(&mut self, inputs: [usize; 5], names: [&str; 2], heads: DeltaHeads) -> usize {
        let width = self.program.width(inputs[2]);
        let [decay, bias] = names.map(|name| self.special(name.into(), vec![heads.values], Kind::State));
        self.program.push(Operation::DeltaScan { decay, bias, heads }, inputs.to_vec(), width)
    }

    /// A tensor that trains with the branch where it is asked for.
    fn special(&mut self, name: String, shape: Vec<usize>, kind: Kind) -> usize {
        let place = self.tensor(name, shape, kind);
        self.others.push(place);
        place
    }

    fn tensor(&mut self, name: String, shape: Vec<usize>, kind: Kind) -> usize {
        self.spec.tensors.push(TensorSpec { name, shape, kind, form: Form::Plain, rows: None });
        self.spec.tensors.len() - 1
    }

    /// The rows of a value that go to an expert.
    pub fn reaching(&mut self, x: usize, routes: usize, expert: usize, routing: &Routing) -> usize {
        let share = routing.top_k as f64 / routing.experts as f64;
        self.program.push(Operation::Reaching { expert, share }, vec![x, routes], self.program.width(x))
    }

    /// The weighted sum of what experts give, all of them in order.
    pub fn combine(&mut self, routes: usize, outputs: &[usize]) -> usize {
        let width = outputs.first().map_or(0, |&output| self.program.width(output));
        let reads = [routes].into_iter().chain(outputs.iter().copied()).collect();
        self.program.push(Operation::Combine, reads, width)
    }

    /// Every row of a value times the sigmoid of the number that `gates` has for it.
    pub fn gate_rows(&mut self, x: usize, gates: usize) -> usize {
        self.program.push(Operation::GateRows, vec![x, gates], self.program.width(x))
    }

    /// The branch. The last value is its output.
    pub fn finish(self) -> Branch {
        let Self { name, program, linears, others, cached, .. } = self;
        Branch { name, program, linears, others, cached }
    }
}
