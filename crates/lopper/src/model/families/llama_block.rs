//! A block of the form of Llama, and what families change of it.

use lopper_kernels::Activation;

use super::experts::Experts;
use super::llama_form::LlamaForm;
use super::mixer::Mixer;
use crate::autograd::AttentionLayout;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};

/// Names of the norms: before each branch of a block, of what it gives, and after the last block.
#[derive(Clone, Copy)]
pub struct Norms {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
    pub last: &'static str,
}

impl Norms {
    /// As Llama has them: before each branch.
    pub const BEFORE: Self = Self {
        before_attention: Some("input_layernorm"),
        after_attention: None,
        before_mlp: Some("post_attention_layernorm"),
        after_mlp: None,
        last: "model.norm",
    };
    /// Of what each branch gives.
    pub const AFTER: Self = Self {
        before_attention: None,
        after_attention: Some("post_attention_layernorm"),
        before_mlp: None,
        after_mlp: Some("post_feedforward_layernorm"),
        last: "model.norm",
    };
    /// One before both branches.
    pub const SHARED: Self = Self { before_mlp: Some("input_layernorm"), ..Self::BEFORE };
}

/// Norms of queries and keys.
#[derive(Clone, Copy)]
pub struct QueryNorms {
    pub query: &'static str,
    pub key: &'static str,
    /// Whether each head is normed by itself, or all together.
    pub by_head: bool,
    /// Whether they come after the rotary positions.
    pub after_rotary: bool,
    /// Whether values are normed as well, without a weight.
    pub values: bool,
}

impl QueryNorms {
    /// Of each head, before the rotary positions.
    pub const HEADS: Self =
        Self { query: "self_attn.q_norm", key: "self_attn.k_norm", by_head: true, after_rotary: false, values: false };
}

/// How a feed-forward layer begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// `f(gate) · up`
    Gated,
    /// The same from one matrix: first the gates.
    Fused,
    /// `f(up)`
    Plain,
}

/// Names of matrices within a block.
#[derive(Clone, Copy)]
pub struct Names {
    pub output: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    /// Of both where they are one matrix.
    pub gate_up: &'static str,
    pub down: &'static str,
}

impl Names {
    /// As Llama and most others have them.
    pub const PLAIN: Self = Self {
        output: "self_attn.o_proj",
        gate: "mlp.gate_proj",
        up: "mlp.up_proj",
        gate_up: "mlp.gate_up_proj",
        down: "mlp.down_proj",
    };
}

/// The attention of a block, where blocks differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attention {
    /// Width of a head.
    pub head_dim: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Whether values are what keys are before their norm: one matrix makes both.
    pub keys_are_values: bool,
    /// Sliding window; `None` sees everything before it.
    pub window: Option<usize>,
    /// Its rotary positions among those of the decoder; `None` has no positions.
    pub rotary: Option<usize>,
}

/// What a block has.
pub struct Parts<'a> {
    pub attention: Option<Attention>,
    /// In the place of attention, or beside it.
    pub mixer: Option<&'a Mixer>,
    /// In the place of a feed-forward layer.
    pub experts: Option<&'a Experts>,
}

/// Factors on the way.
#[derive(Clone, Copy, Default)]
pub struct Factors {
    /// Of what attention reads, and of what it gives.
    pub attention: [Option<f32>; 2],
    /// The same of what stands beside it.
    pub mixer: [Option<f32>; 2],
    pub key: Option<f32>,
    /// Of the gates of the feed-forward layer, and of what it gives.
    pub gate: Option<f32>,
    pub down: Option<f32>,
}

impl LlamaForm {
    /// A block whose attention, if it has one, sees this, with experts or a feed-forward layer.
    pub fn block(&self, parts: &Parts) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = parts.attention.map(|attention| self.attention(&mut block, attention));
        let mixer = parts.mixer.map(|mixer| self.mixer(&mut block, mixer));
        let mut branches: Vec<Branch> = attention.into_iter().chain(mixer).collect();
        let mlp = match parts.experts {
            Some(experts) => self.experts(&mut block, experts),
            None => self.mlp(&mut block),
        };
        if !self.parallel {
            block.stage(std::mem::take(&mut branches));
        }
        branches.push(mlp);
        match self.factor_of_states {
            Some(name) => block.multiplied_stage(branches, name),
            None => block.stage(branches),
        }
        block.finish()
    }

    fn mixer(&self, block: &mut BlockBuilder, mixer: &Mixer) -> Branch {
        let [before, after] = self.factors.mixer;
        let mut branch = block.branch("mixer", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_attention);
        let x = branch.scale(x, before);
        let y = mixer.mix(&mut branch, x, self.hidden);
        let y = branch.scale(y, after);
        self.leave(branch, y, self.norms.after_attention)
    }

    fn attention(&self, block: &mut BlockBuilder, own: Attention) -> Branch {
        let Attention { head_dim, kv_heads, window, rotary, .. } = own;
        if let Some(latent) = self.latent {
            return self.latent_attention(block, latent, rotary.unwrap_or(0));
        }
        let &Self { heads, hidden, soft_cap, .. } = self;
        let mut layout = AttentionLayout { kv_heads, window, soft_cap, ..AttentionLayout::new(heads, head_dim) };
        layout.scale = self.scale.unwrap_or(layout.scale);
        let mut branch = block.branch("attention", hidden);
        let [before, after] = self.factors.attention;
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_attention);
        let x = branch.scale(x, before);
        let (mut inputs, gate) = self.inputs(&mut branch, x, (own, layout.widths()));
        inputs[1] = branch.scale(inputs[1], self.factors.key);
        let norms_first = self.query_norms.is_some_and(|norms| !norms.after_rotary);
        if norms_first {
            self.norm_queries(&mut branch, &mut inputs, head_dim);
        }
        if let Some(bound) = self.clamp {
            inputs = inputs.map(|x| branch.clamp(x, bound));
        }
        if let Some(table) = rotary {
            inputs[..2].iter_mut().for_each(|x| *x = branch.rotary(*x, head_dim, table));
        }
        if !norms_first {
            self.norm_queries(&mut branch, &mut inputs, head_dim);
        }
        let mixed = branch.attention_with(inputs, layout, self.sinks);
        let mixed = gate.map_or(mixed, |gate| branch.gated(Activation::Sigmoid, gate, mixed));
        let y = branch.linear(mixed, "output", self.names.output, hidden, self.output_bias);
        let y = branch.scale(y, after);
        self.leave(branch, y, self.norms.after_attention)
    }

    /// Queries, keys and values, of these widths, and the gate of what attention gives.
    fn inputs(
        &self,
        branch: &mut BranchBuilder,
        x: usize,
        (own, widths): (Attention, [usize; 3]),
    ) -> ([usize; 3], Option<usize>) {
        if self.fused_inputs {
            let width = widths.iter().sum();
            let fused = branch.linear(x, "query_key_value", "self_attn.qkv_proj", width, self.input_bias);
            return (branch.split(fused, widths), None);
        }
        let [of_queries, of_keys, of_values] = widths;
        let both = if self.gated_attention { 2 * of_queries } else { of_queries };
        let mut query = branch.linear(x, "query", "self_attn.q_proj", both, self.input_bias);
        let gate = self.gated_attention.then(|| {
            let of_heads = |first: usize| (0..self.heads).map(move |head| 2 * head + first);
            let columns = |first: usize| of_heads(first).map(|part| part * own.head_dim..(part + 1) * own.head_dim);
            let gate = branch.columns(query, columns(1));
            query = branch.columns(query, columns(0));
            gate
        });
        let key = branch.linear(x, "key", "self_attn.k_proj", of_keys, self.input_bias);
        let value = if own.keys_are_values {
            key
        } else {
            branch.linear(x, "value", "self_attn.v_proj", of_values, self.input_bias)
        };
        ([query, key, value], gate)
    }

    fn norm_queries(&self, branch: &mut BranchBuilder, [query, key, value]: &mut [usize; 3], head_dim: usize) {
        let Some(norms) = self.query_norms else { return };
        for (x, name) in [(query, norms.query), (key, norms.key)] {
            let width = if norms.by_head { head_dim } else { branch.width(*x) };
            *x = branch.norm_of(*x, self.norm, name, width);
        }
        if norms.values {
            *value = branch.norm_of(*value, Norm { weight: false, ..self.norm }, "", head_dim);
        }
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { intermediate, mlp_bias: bias, names, .. } = self;
        let mut branch = block.branch("mlp", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_mlp);
        let activated = match self.mlp {
            Mlp::Gated => {
                let gate = branch.linear(x, "gate", names.gate, intermediate, bias);
                let gate = branch.scale(gate, self.factors.gate);
                let up = branch.linear(x, "up", names.up, intermediate, bias);
                branch.gated(self.activation, gate, up)
            }
            Mlp::Fused => {
                let fused = branch.linear(x, "gate_up", names.gate_up, 2 * intermediate, bias);
                let [gate, up] = branch.split(fused, [intermediate; 2]);
                branch.gated(self.activation, gate, up)
            }
            Mlp::Plain => {
                let up = branch.linear(x, "up", names.up, intermediate, bias);
                branch.activate(up, self.activation)
            }
        };
        let y = branch.linear(activated, "down", names.down, self.hidden, bias);
        let y = branch.scale(y, self.factors.down);
        self.leave(branch, y, self.norms.after_mlp)
    }

    pub fn normed(&self, branch: &mut BranchBuilder, x: usize, name: Option<&str>) -> usize {
        name.map_or(x, |name| branch.norm(x, self.norm, name))
    }

    /// What a branch adds to the residual stream.
    pub fn leave(&self, mut branch: BranchBuilder, y: usize, norm: Option<&str>) -> Branch {
        let y = self.normed(&mut branch, y, norm);
        branch.scale(y, self.residual_scale);
        branch.finish()
    }
}
