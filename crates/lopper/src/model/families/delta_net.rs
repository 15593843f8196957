//! Gated DeltaNet in the place of attention (Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464), as Qwen has it.

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::DeltaHeads;
use crate::error::Result;
use crate::model::builder::{BranchBuilder, Norm};

/// Added to the squared length of a query or a key before it is made as long as 1.
const EPSILON: f32 = 1e-6;

/// A scan by the gated delta rule of what short convolutions make of queries, keys and values.
#[derive(Clone)]
pub struct DeltaNet {
    /// What stands before the names of its tensors.
    pub name: &'static str,
    pub heads: DeltaHeads,
    /// Width of a key head and of a value head.
    pub widths: [usize; 2],
    pub taps: usize,
    /// Of what passes the filter.
    pub activation: Activation,
    /// Of every value head of what comes out.
    pub norm: Norm,
    /// Whether two matrices hold all projections, key head by key head, or each has its own (the filtered three one).
    pub fused: bool,
}

impl DeltaNet {
    /// As the keys say that begin with `linear_`.
    pub fn read(config: &Config, name: &'static str, norm: Norm, fused: bool) -> Result<Self> {
        let [keys, values] = [("linear_num_key_heads", 16), ("linear_num_value_heads", 32)];
        let heads = DeltaHeads { keys: config.heads_named(keys)?, values: config.heads_named(values)? };
        if !heads.values.is_multiple_of(heads.keys) {
            let DeltaHeads { keys, values } = heads;
            return Err(config.wrong(format!(
                "\"linear_num_key_heads\" {keys} does not divide \"linear_num_value_heads\" {values}"
            )));
        }
        let widths =
            [config.width_of_head("linear_key_head_dim", 128)?, config.width_of_head("linear_value_head_dim", 128)?];
        let taps = config.size_or("linear_conv_kernel_dim", 4)?;
        Ok(Self { name, heads, widths, taps, activation: config.activation("hidden_act", "silu")?, norm, fused })
    }

    /// Its output, as wide as the states.
    pub fn mix(&self, branch: &mut BranchBuilder, x: usize, hidden: usize) -> usize {
        let &Self { heads: DeltaHeads { keys, values }, widths: [wide, width], .. } = self;
        let of = |name: &str| format!("{}.{name}", self.name);
        let [filtered, gate, strength, step] =
            if self.fused { self.by_key_head(branch, x) } else { self.apart(branch, x) };
        let mixed = branch.convolution(filtered, &of("conv1d"), self.taps, false);
        let mixed = branch.activate(mixed, self.activation);
        let [query, key, value] = branch.split(mixed, [keys * wide, keys * wide, values * width]);
        // as long as 1, queries 1/√d as long: a root mean square of 1 is a length of √d
        let long = Norm { epsilon: EPSILON / wide as f32, weight: false, ..Norm::rms(0.0) };
        let [query, key] = [(query, 1.0 / wide as f32), (key, 1.0 / (wide as f32).sqrt())].map(|(x, factor)| {
            let x = branch.norm_of(x, long, "", wide);
            branch.scale(x, Some(factor))
        });
        let strength = branch.activate(strength, Activation::Sigmoid);
        let inputs = [query, key, value, step, strength];
        let y = branch.delta_scan(inputs, [&of("A_log"), &of("dt_bias")], self.heads);
        let y = branch.norm_of(y, self.norm, &of("norm"), width);
        let y = branch.gated(Activation::Silu, gate, y);
        branch.linear(y, "output", &of("out_proj"), hidden, false)
    }

    /// What is filtered, the gate, strengths and steps, of two matrices that have what belongs to a key head together.
    fn by_key_head(&self, branch: &mut BranchBuilder, x: usize) -> [usize; 4] {
        let &Self { heads: DeltaHeads { keys, values }, widths: [wide, width], .. } = self;
        let (sharing, of) = (values / keys, |name: &str| format!("{}.{name}", self.name));
        let each = [wide, wide, sharing * width, sharing * width];
        let starts = [0, wide, 2 * wide, 2 * wide + sharing * width];
        let (all, total) = (2 * (keys * wide + values * width), each.iter().sum::<usize>());
        let range = |part: usize| {
            (0..keys).map(move |head| head * total + starts[part]..head * total + starts[part] + each[part])
        };
        let fused = branch.linear(x, "input", &of("in_proj_qkvz"), all, false);
        let filtered = branch.columns(fused, (0..3).flat_map(range));
        let gate = branch.columns(fused, range(3));
        let both = branch.linear(x, "strength_step", &of("in_proj_ba"), 2 * values, false);
        let [strength, step] = [0, 1].map(|part| {
            let start = |head: usize| (2 * head + part) * sharing;
            branch.columns(both, (0..keys).map(|head| start(head)..start(head) + sharing))
        });
        [filtered, gate, strength, step]
    }

    /// The same of four matrices.
    fn apart(&self, branch: &mut BranchBuilder, x: usize) -> [usize; 4] {
        let &Self { heads: DeltaHeads { keys, values }, widths: [wide, width], .. } = self;
        let of = |name: &str| format!("{}.{name}", self.name);
        [
            branch.linear(x, "query_key_value", &of("in_proj_qkv"), 2 * keys * wide + values * width, false),
            branch.linear(x, "gate", &of("in_proj_z"), values * width, false),
            branch.linear(x, "strength", &of("in_proj_b"), values, false),
            branch.linear(x, "step", &of("in_proj_a"), values, false),
        ]
    }
}
