//! What stands in the place of attention in models of state spaces and in hybrids: a part of a branch, from what it reads to its output.

use lopper_kernels::Activation;
use serde_json::{Value, json};

use super::config::Config;
use super::delta_net::DeltaNet;
use crate::autograd::{Part, ScanHeads};
use crate::error::Result;
use crate::model::builder::{BranchBuilder, Norm};

/// More states of a channel than any model has.
const MOST_STATES: usize = 1 << 16;

/// What stands in the place of attention.
#[derive(Clone)]
pub enum Mixer {
    /// That of Mamba.
    Selective(Selective),
    /// That of Mamba 2.
    ByHead(ByHead),
    /// A short convolution between two gates.
    Filter(Filter),
    /// Gated DeltaNet.
    Delta(DeltaNet),
}

/// Which blocks have such.
#[derive(Clone)]
pub struct Mixers {
    pub mixer: Mixer,
    pub blocks: Vec<bool>,
    /// Whether it stands beside attention, and not in its place.
    pub beside: bool,
}

/// A selective scan of every channel by itself (Gu and Dao 2023, arXiv 2312.00752).
#[derive(Clone)]
pub struct Selective {
    /// What stands before the names of its tensors.
    pub name: &'static str,
    /// Channels of the recurrence.
    pub width: usize,
    /// States of each.
    pub states: usize,
    pub taps: usize,
    /// Width of what steps are made of.
    pub rank: usize,
    /// Of what steps, B and C are made of, and their names.
    pub inner: Option<(Norm, [&'static str; 3])>,
    pub bias: bool,
    pub filter_bias: bool,
}

/// A scan whose channels fall alike within a head (Dao and Gu 2024, arXiv 2405.21060).
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one tensor is there, or where")]
pub struct ByHead {
    /// What stands before the names of its tensors.
    pub name: &'static str,
    /// Channels of the recurrence.
    pub width: usize,
    /// States of each.
    pub states: usize,
    pub taps: usize,
    pub heads: ScanHeads,
    /// Of what passes the filter.
    pub activation: Activation,
    /// Of what comes out, by groups.
    pub norm: Option<Norm>,
    /// Whether the gate comes after the norm.
    pub gated_last: bool,
    /// Of the gate, x, B, C and steps.
    pub factors: [Option<f32>; 5],
    pub bias: bool,
    pub output_bias: bool,
    pub filter_bias: bool,
}

/// Three values of the width of the states: what is filtered, and what gates it before and after.
#[derive(Clone)]
pub struct Filter {
    /// What stands before the names of its tensors.
    pub name: &'static str,
    pub taps: usize,
    pub bias: bool,
}

/// Keys of a config.json that describe a scan by heads.
pub struct Keys {
    pub heads: (&'static str, usize),
    pub head_dim: (&'static str, usize),
    pub groups: (&'static str, usize),
    pub states: (&'static str, usize),
    pub taps: &'static str,
    pub bias: &'static str,
    pub filter_bias: &'static str,
    pub limits: &'static str,
    pub activation: &'static str,
}

/// As hybrids have them.
pub const HYBRID: Keys = Keys {
    heads: ("mamba_n_heads", 128),
    head_dim: ("mamba_d_head", 0),
    groups: ("mamba_n_groups", 1),
    states: ("mamba_d_state", 256),
    taps: "mamba_d_conv",
    bias: "mamba_proj_bias",
    filter_bias: "mamba_conv_bias",
    limits: "time_step_limit",
    activation: "hidden_act",
};

impl ByHead {
    /// Of so many channels. Where no key says how wide a head is, or it says `auto`, heads share them out.
    pub fn read(config: &Config, name: &'static str, keys: &Keys, width: usize, norm: Norm) -> Result<Self> {
        let heads = config.size_or(keys.heads.0, keys.heads.1)?;
        let (key, head_dim) = keys.head_dim;
        let by_itself = head_dim == 0 && config.get(key).is_none_or(|value| value.as_str() == Some("auto"));
        let head_dim = if by_itself { width / heads } else { config.size_or(key, head_dim)? };
        let groups = config.size_or(keys.groups.0, keys.groups.1)?;
        if heads.saturating_mul(head_dim) != width {
            return Err(config.wrong(format!("{heads} heads of {head_dim} are not as wide as the {width} channels")));
        }
        if !heads.is_multiple_of(groups) {
            return Err(config.wrong(format!("{groups} groups do not divide {heads} heads")));
        }
        let bias = config.flag_or(keys.bias, false)?;
        Ok(Self {
            name,
            width,
            states: states(config, keys.states)?,
            taps: config.size_or(keys.taps, 4)?,
            heads: ScanHeads { heads, groups, limits: limits(config, keys.limits)? },
            activation: config.activation(keys.activation, "silu")?,
            norm: Some(norm),
            gated_last: false,
            factors: [None; 5],
            bias,
            output_bias: bias,
            filter_bias: config.flag_or(keys.filter_bias, true)?,
        })
    }
}

/// `expand` times the width of the states.
pub fn expanded(config: &Config, key: &str, hidden: usize) -> Result<usize> {
    let width = config.size_or(key, 2)?.saturating_mul(hidden);
    if width < 1 << 32 { Ok(width) } else { Err(config.wrong(format!("{key:?} makes {width} channels of {hidden}"))) }
}

/// States of a channel.
pub fn states(config: &Config, (key, default): (&str, usize)) -> Result<usize> {
    let states = config.size_or(key, default)?;
    if states <= MOST_STATES {
        Ok(states)
    } else {
        Err(config.wrong(format!("{key:?} is {states}, above {MOST_STATES}")))
    }
}

/// Width of what steps are made of; by itself a 16th of the states.
pub fn rank(config: &Config, key: &str, hidden: usize) -> Result<usize> {
    let by_itself = config.get(key).and_then(Value::as_str) == Some("auto");
    if by_itself { Ok(hidden.div_ceil(16)) } else { config.size_or(key, hidden.div_ceil(16)) }
}

/// The smallest and the largest step. Python writes an infinite one as no number of JSON.
fn limits(config: &Config, key: &str) -> Result<[f32; 2]> {
    let Some(value) = config.get(key) else { return Ok([0.0, f32::INFINITY]) };
    let infinite = [json!(["infinity"]), json!("Infinity")];
    let number = |value: &Value| {
        let value = value.get("__float__").unwrap_or(value);
        if infinite.contains(value) { f32::INFINITY } else { value.as_f64().map_or(f32::NAN, |number| number as f32) }
    };
    let both = value.as_array().filter(|both| both.len() == 2).map(|both| [number(&both[0]), number(&both[1])]);
    both.filter(|[least, most]| (0.0..=*most).contains(least))
        .ok_or_else(|| config.no(key, value, "two numbers, the smallest and the largest step"))
}

impl Mixer {
    /// Its output, as wide as the states.
    pub fn mix(&self, branch: &mut BranchBuilder, x: usize, hidden: usize) -> usize {
        match self {
            Self::Selective(selective) => selective.mix(branch, x, hidden),
            Self::ByHead(by_head) => by_head.mix(branch, x, hidden),
            Self::Filter(filter) => filter.mix(branch, x, hidden),
            Self::Delta(net) => net.mix(branch, x, hidden),
        }
    }
}

impl Selective {
    fn mix(&self, branch: &mut BranchBuilder, x: usize, hidden: usize) -> usize {
        let &Self { width, states, rank, .. } = self;
        let of = |name: &str| format!("{}.{name}", self.name);
        let both = branch.linear(x, "input", &of("in_proj"), 2 * width, self.bias);
        let [x, gate] = branch.split(both, [width; 2]);
        let x = branch.convolution(x, &of("conv1d"), self.taps, self.filter_bias);
        let x = branch.activate(x, Activation::Silu);
        let chosen = branch.linear(x, "selection", &of("x_proj"), rank + 2 * states, false);
        let mut parts = branch.split(chosen, [rank, states, states]);
        if let Some((norm, names)) = self.inner {
            for (part, name) in parts.iter_mut().zip(names) {
                *part = branch.norm(*part, norm, &of(name));
            }
        }
        let [step, into, out_of] = parts;
        let step = branch.linear(step, "step", &of("dt_proj"), width, true);
        let y = branch.scan([x, step, into, out_of], [&of("A_log"), &of("D")]);
        let y = branch.gated(Activation::Silu, gate, y);
        branch.linear(y, "output", &of("out_proj"), hidden, self.bias)
    }
}

impl ByHead {
    fn mix(&self, branch: &mut BranchBuilder, x: usize, hidden: usize) -> usize {
        let &Self { width, states, heads: ScanHeads { heads, groups, .. }, .. } = self;
        let of = |name: &str| format!("{}.{name}", self.name);
        let ways = groups * states;
        let all = branch.linear(x, "input", &of("in_proj"), 2 * (width + ways) + heads, self.bias);
        let [of_gate, .., of_step] = self.factors;
        let within = &self.factors[1..4];
        let [gate, x, step] = branch.split(all, [width, width + 2 * ways, heads]);
        let (gate, step) = (branch.scale(gate, of_gate), branch.scale(step, of_step));
        let x = if within.iter().any(Option::is_some) {
            let parts = branch.split(x, [width, ways, ways]);
            let scaled: Vec<usize> =
                parts.iter().zip(within).map(|(part, factor)| branch.scale(*part, *factor)).collect();
            let whole = |(place, &part): (usize, &usize)| Part::Of(place, 0..branch.width(part));
            let parts: Vec<Part> = scaled.iter().enumerate().map(whole).collect();
            branch.join(&scaled, parts)
        } else {
            x
        };
        let x = branch.convolution(x, &of("conv1d"), self.taps, self.filter_bias);
        let x = branch.activate(x, self.activation);
        let [x, into, out_of] = branch.split(x, [width, ways, ways]);
        let mut y = branch.head_scan([x, step, into, out_of], [&of("A_log"), &of("D"), &of("dt_bias")], self.heads);
        if !self.gated_last {
            y = branch.gated(Activation::Silu, gate, y);
        }
        if let Some(norm) = self.norm {
            y = branch.norm_by_group(y, norm, &of("norm"), groups);
        }
        if self.gated_last {
            y = branch.gated(Activation::Silu, gate, y);
        }
        branch.linear(y, "output", &of("out_proj"), hidden, self.output_bias)
    }
}

impl Filter {
    fn mix(&self, branch: &mut BranchBuilder, x: usize, hidden: usize) -> usize {
        let of = |name: &str| format!("{}.{name}", self.name);
        let all = branch.linear(x, "input", &of("in_proj"), 3 * hidden, self.bias);
        let [before, after, x] = branch.split(all, [hidden; 3]);
        let x = branch.gated(Activation::Identity, before, x);
        let x = branch.convolution(x, &of("conv"), self.taps, self.bias);
        let y = branch.gated(Activation::Identity, after, x);
        branch.linear(y, "output", &of("out_proj"), hidden, self.bias)
    }
}
