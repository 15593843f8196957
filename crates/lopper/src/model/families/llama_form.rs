//! The form that Llama gave to most families: RMS norms, rotary attention with grouped queries, gated feed-forward layer.
//! A family reads it from config.json, changes what it has otherwise, and builds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::{Activation, RotaryPairs};

use super::config::Config;
use super::rotary_config::RotaryDefaults;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::rotary::RotarySpec;
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "model.embed_tokens.weight";
/// What a family has where config.json says nothing, and the keys that it names otherwise.
#[derive(Clone, Copy)]
pub struct Defaults {
    /// Of the feed-forward layer, under this key.
    pub activation: (&'static str, &'static str),
    /// ε of the norms, under this key.
    pub epsilon: (&'static str, f64),
    /// Longest sequence.
    pub max_positions: usize,
    /// Width of a head; `None` shares the width of the states out.
    pub head_dim: Option<usize>,
    /// Share of each head that is rotated, in families that let it be less than all.
    pub rotated: Option<f64>,
    /// Base of the rotary positions.
    pub base: Base,
    /// Length trained on before positions were scaled, where that does not stand with the scaling.
    pub original: Option<usize>,
    /// Whether the head is the embedding.
    pub tied: bool,
}

/// Base of rotary positions.
#[derive(Clone, Copy)]
pub enum Base {
    /// `rope_theta`, or this.
    One(f64),
    /// Of full and of sliding attention, each under its key.
    ByKind([(&'static str, f64); 2]),
}

/// Those of Llama.
pub const LLAMA: Defaults = Defaults {
    activation: ("hidden_act", "silu"),
    epsilon: ("rms_norm_eps", 1e-6),
    max_positions: 2048,
    head_dim: None,
    rotated: None,
    base: Base::One(10_000.0),
    original: None,
    tied: false,
};

/// A decoder of this form.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one tensor is there")]
pub struct LlamaForm {
    family: &'static str,
    vocabulary: usize,
    pub hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    pub head_dim: usize,
    pub max_positions: usize,
    tied: bool,
    /// Of every norm.
    pub norm: Norm,
    /// Which norms there are.
    pub norms: Norms,
    /// Norms of queries and keys.
    pub query_norms: Option<QueryNorms>,
    /// Names of the matrices that some families name otherwise.
    pub names: Names,
    /// Of the feed-forward layer.
    pub activation: Activation,
    /// Rotary positions that blocks refer to.
    pub rotary: Vec<RotarySpec>,
    /// What differs between blocks.
    pub blocks: Vec<Attention>,
    /// Whether attention and feed-forward layer read the same states, side by side.
    pub parallel: bool,
    /// Factor of attention scores, where it is not 1/√head_dim.
    pub scale: Option<f32>,
    /// Bound of attention scores.
    pub soft_cap: Option<f32>,
    /// Bound of the entries of queries, keys and values.
    pub clamp: Option<f32>,
    /// Whether queries, keys and values come from one matrix, one after the other.
    pub fused_inputs: bool,
    /// Whether queries, keys and values have biases.
    pub input_bias: bool,
    /// Whether the output of the attention has one.
    pub output_bias: bool,
    /// How the feed-forward layer begins.
    pub mlp: Mlp,
    /// Whether the feed-forward layer has biases.
    pub mlp_bias: bool,
    /// Factor of the embedding.
    pub embedding_scale: Option<f32>,
    /// Factor of what each branch adds.
    pub residual_scale: Option<f32>,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Factor of the logits.
    pub logit_scale: Option<f32>,
    /// Bound of the logits.
    pub logit_cap: Option<f32>,
}

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
}

impl QueryNorms {
    /// Of each head, before the rotary positions.
    pub const HEADS: Self =
        Self { query: "self_attn.q_norm", key: "self_attn.k_norm", by_head: true, after_rotary: false };
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
    pub up: &'static str,
    pub down: &'static str,
}

/// What the attention of a block sees.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attention {
    /// Sliding window; `None` sees everything before it.
    pub window: Option<usize>,
    /// Its rotary positions among those of the decoder; `None` has no positions.
    pub rotary: Option<usize>,
}

impl LlamaForm {
    /// As far as the families agree.
    pub fn read(config: &Config, family: &'static str, defaults: &Defaults) -> Result<Self> {
        let (hidden, heads) = (config.size("hidden_size")?, config.heads()?);
        let head_dim = config.head_dim(defaults.head_dim, hidden / heads)?;
        let kv_heads = config.size_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(config.wrong(format!("{heads} attention heads cannot share {kv_heads} key-value heads")));
        }
        let max_positions = config.size_or("max_position_embeddings", defaults.max_positions)?;
        let heads_and_length = (head_dim, max_positions);
        let rotary = match defaults.base {
            Base::One(base) => {
                let share = defaults.rotated.map(|share| ("partial_rotary_factor", share));
                let defaults = RotaryDefaults { share, base: ("rope_theta", base), original: defaults.original };
                vec![config.rotary(heads_and_length, &defaults)?]
            }
            Base::ByKind([full, sliding]) => vec![
                config.rotary_of("full_attention", heads_and_length, full)?,
                config.rotary_of("sliding_attention", heads_and_length, sliding)?,
            ],
        };
        Ok(Self {
            family,
            vocabulary: config.size("vocab_size")?,
            hidden,
            intermediate: config.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            tied: config.flag_or("tie_word_embeddings", defaults.tied)?,
            norm: Norm::rms(config.epsilon(defaults.epsilon.0, defaults.epsilon.1)?),
            norms: Norms::BEFORE,
            query_norms: None,
            names: Names { output: "self_attn.o_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
            activation: config.activation(defaults.activation.0, defaults.activation.1)?,
            rotary,
            blocks: vec![Attention { window: None, rotary: Some(0) }; config.blocks()?],
            parallel: false,
            scale: None,
            soft_cap: None,
            clamp: None,
            fused_inputs: false,
            input_bias: false,
            output_bias: false,
            mlp: Mlp::Gated,
            mlp_bias: false,
            embedding_scale: None,
            residual_scale: None,
            head_bias: false,
            logit_scale: None,
            logit_cap: None,
        })
    }

    /// `attention_bias`, of all four matrices.
    pub fn read_attention_bias(&mut self, config: &Config) -> Result<()> {
        self.input_bias = config.flag_or("attention_bias", false)?;
        self.output_bias = self.input_bias;
        Ok(())
    }

    /// The rotary table turns neighbouring entries of a head together, not those of its halves.
    pub fn turn_neighbours(&mut self) {
        self.rotary.iter_mut().for_each(|rotary| rotary.pairs = RotaryPairs::Neighbours);
    }

    /// Windows of `sliding_window` tokens, in the blocks that `layer_types` names, or else those of which `slides` is true; where both
    /// kinds of attention have rotary positions of their own, those too.
    pub fn read_windows(
        &mut self,
        config: &Config,
        default: Option<usize>,
        slides: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let window = config.window(default)?;
        for (block, attention) in self.blocks.iter_mut().enumerate() {
            let slides = config.slides(block)?.unwrap_or_else(|| slides(block));
            attention.window = window.filter(|_| slides);
            attention.rotary = Some(usize::from(slides && self.rotary.len() > 1));
        }
        Ok(())
    }

    /// The same window in every block, whatever `layer_types` says.
    pub fn slide_everywhere(&mut self, config: &Config, default: Option<usize>) -> Result<()> {
        let window = config.window(default)?;
        self.blocks.iter_mut().for_each(|attention| attention.window = window);
        Ok(())
    }

    /// Windows in late blocks, as the Qwens have them: where `use_sliding_window` asks for them.
    pub fn read_late_windows(&mut self, config: &Config) -> Result<()> {
        if !config.flag_or("use_sliding_window", false)? {
            return Ok(());
        }
        let first = config.size_or("max_window_layers", 28)?;
        self.read_windows(config, Some(4096), |block| block >= first)
    }

    /// The decoder.
    pub fn build(self) -> DecoderSpec {
        let mut kinds = BTreeMap::new();
        let mut block =
            |&attention: &Attention| kinds.entry(attention).or_insert_with(|| Arc::new(self.block(attention))).clone();
        let blocks = self.blocks.iter().map(&mut block).collect();
        DecoderSpec {
            family: self.family,
            vocabulary: self.vocabulary,
            hidden: self.hidden,
            max_positions: self.max_positions,
            stem: Stem { scale: self.embedding_scale, ..Stem::plain(EMBEDDING, self.hidden) },
            block_prefix: "model.layers.".into(),
            blocks,
            head: HeadSpec {
                finish: Some(Arc::new(BlockBuilder::final_norm(
                    self.hidden,
                    self.norm,
                    self.norms.last,
                    self.logit_scale,
                ))),
                weight: "lm_head.weight".into(),
                tied: self.tied,
                bias: self.head_bias.then(|| "lm_head.bias".into()),
                soft_cap: self.logit_cap,
                width: self.hidden,
            },
            rotary: self.rotary,
        }
    }

    fn block(&self, attention: Attention) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = self.attention(&mut block, attention);
        if self.parallel {
            let mlp = self.mlp(&mut block);
            block.stage([attention, mlp]);
        } else {
            block.stage([attention]);
            let mlp = self.mlp(&mut block);
            block.stage([mlp]);
        }
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder, Attention { window, rotary }: Attention) -> Branch {
        let &Self { heads, kv_heads, head_dim, hidden, soft_cap, .. } = self;
        let mut layout = AttentionLayout { kv_heads, window, soft_cap, ..AttentionLayout::new(heads, head_dim) };
        layout.scale = self.scale.unwrap_or(layout.scale);
        let mut branch = block.branch("attention", hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_attention);
        let mut inputs = self.inputs(&mut branch, x, layout.widths());
        let norms_first = self.query_norms.is_some_and(|norms| !norms.after_rotary);
        if norms_first {
            self.norm_queries(&mut branch, &mut inputs);
        }
        if let Some(bound) = self.clamp {
            inputs = inputs.map(|x| branch.clamp(x, bound));
        }
        if let Some(table) = rotary {
            inputs[..2].iter_mut().for_each(|x| *x = branch.rotary(*x, head_dim, table));
        }
        if !norms_first {
            self.norm_queries(&mut branch, &mut inputs);
        }
        let mixed = branch.attention(inputs, layout);
        let y = branch.linear(mixed, "output", self.names.output, hidden, self.output_bias);
        self.leave(branch, y, self.norms.after_attention)
    }

    /// Queries, keys and values, of these widths.
    fn inputs(&self, branch: &mut BranchBuilder, x: usize, widths: [usize; 3]) -> [usize; 3] {
        if self.fused_inputs {
            let width = widths.iter().sum();
            let fused = branch.linear(x, "query_key_value", "self_attn.qkv_proj", width, self.input_bias);
            return branch.split(fused, widths);
        }
        let [of_queries, of_keys, of_values] = widths;
        [
            branch.linear(x, "query", "self_attn.q_proj", of_queries, self.input_bias),
            branch.linear(x, "key", "self_attn.k_proj", of_keys, self.input_bias),
            branch.linear(x, "value", "self_attn.v_proj", of_values, self.input_bias),
        ]
    }

    fn norm_queries(&self, branch: &mut BranchBuilder, [query, key, _]: &mut [usize; 3]) {
        let Some(norms) = self.query_norms else { return };
        for (x, name) in [(query, norms.query), (key, norms.key)] {
            let width = if norms.by_head { self.head_dim } else { branch.width(*x) };
            *x = branch.norm_of(*x, self.norm, name, width);
        }
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { intermediate, mlp_bias: bias, names, .. } = self;
        let mut branch = block.branch("mlp", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_mlp);
        let activated = match self.mlp {
            Mlp::Gated => {
                let gate = branch.linear(x, "gate", "mlp.gate_proj", intermediate, bias);
                let up = branch.linear(x, "up", names.up, intermediate, bias);
                branch.gated(self.activation, gate, up)
            }
            Mlp::Fused => {
                let fused = branch.linear(x, "gate_up", "mlp.gate_up_proj", 2 * intermediate, bias);
                let [gate, up] = branch.split(fused, [intermediate; 2]);
                branch.gated(self.activation, gate, up)
            }
            Mlp::Plain => {
                let up = branch.linear(x, "up", names.up, intermediate, bias);
                branch.activate(up, self.activation)
            }
        };
        let y = branch.linear(activated, "down", names.down, self.hidden, bias);
        self.leave(branch, y, self.norms.after_mlp)
    }

    fn normed(&self, branch: &mut BranchBuilder, x: usize, name: Option<&str>) -> usize {
        name.map_or(x, |name| branch.norm(x, self.norm, name))
    }

    /// What a branch adds to the residual stream.
    fn leave(&self, mut branch: BranchBuilder, y: usize, norm: Option<&str>) -> Branch {
        let y = self.normed(&mut branch, y, norm);
        branch.scale(y, self.residual_scale);
        branch.finish()
    }
}
