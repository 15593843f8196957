//! The form that Llama gave to most families: RMS norms, rotary attention with grouped queries, gated feed-forward layer.
//! A family reads it from config.json, changes what it has otherwise, and builds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::rotary::RotarySpec;
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "model.embed_tokens.weight";
const SILU: [(&str, Activation); 2] = [("silu", Activation::Silu), ("swish", Activation::Silu)];

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
    /// Whether queries and keys are normed, and in what pieces.
    pub query_norms: QueryNorms,
    /// Of the feed-forward layer.
    pub activation: Activation,
    /// Rotary positions that blocks refer to.
    pub rotary: Vec<RotarySpec>,
    /// What differs between blocks.
    pub blocks: Vec<Attention>,
    /// Factor of attention scores, where it is not 1/√head_dim.
    pub scale: Option<f32>,
    /// Bound of attention scores.
    pub soft_cap: Option<f32>,
    /// Bound of the entries of queries, keys and values.
    pub clamp: Option<f32>,
    /// Whether queries, keys and values have biases.
    pub input_bias: bool,
    /// Whether the output of the attention has one.
    pub output_bias: bool,
    /// Whether the feed-forward layer has biases.
    pub mlp_bias: bool,
    /// Whether the feed-forward layer is gated.
    pub gated: bool,
    /// Factor of the embedding.
    pub embedding_scale: Option<f32>,
    /// Factor of what each branch adds.
    pub residual_scale: Option<f32>,
    /// Factor of the logits.
    pub logit_scale: Option<f32>,
    /// Bound of the logits.
    pub logit_cap: Option<f32>,
}

/// Names of the norms of a block: before each branch, and of what it gives.
#[derive(Clone, Copy)]
pub struct Norms {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum QueryNorms {
    None,
    /// Of each head.
    Heads,
    /// Of all heads together.
    Rows,
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
    pub fn read(config: &Config, family: &'static str) -> Result<Self> {
        Self::with_head_dim(config, family, Self::head_dim(config)?)
    }

    /// Width of a head, where they share the width of the states out.
    pub fn head_dim(config: &Config) -> Result<usize> {
        config.head_dim(config.size("hidden_size")? / config.heads()?)
    }

    /// The same where heads have a width of their own.
    pub fn with_head_dim(config: &Config, family: &'static str, head_dim: usize) -> Result<Self> {
        Self::with_activation(config, family, head_dim, &SILU)
    }

    /// The same with other activations, the first of them where config.json names none.
    pub fn with_activation(
        config: &Config,
        family: &'static str,
        head_dim: usize,
        known: &[(&'static str, Activation)],
    ) -> Result<Self> {
        let activation = config.one_of("hidden_act", known)?;
        let max_positions = config.size_or("max_position_embeddings", 2048)?;
        let rotary =
            config.rotary(head_dim, max_positions, ("partial_rotary_factor", 1.0), ("rope_theta", 10_000.0))?;
        Self::with_rotary(config, family, activation, (head_dim, max_positions), vec![rotary])
    }

    /// The same with an activation and rotary positions that were read otherwise.
    pub fn with_rotary(
        config: &Config,
        family: &'static str,
        activation: Activation,
        (head_dim, max_positions): (usize, usize),
        rotary: Vec<RotarySpec>,
    ) -> Result<Self> {
        let (hidden, heads) = (config.size("hidden_size")?, config.heads()?);
        let kv_heads = config.size_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(config.wrong(format!("{heads} attention heads cannot share {kv_heads} key-value heads")));
        }
        Ok(Self {
            family,
            vocabulary: config.size("vocab_size")?,
            hidden,
            intermediate: config.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            tied: config.flag_or("tie_word_embeddings", false)?,
            norm: Norm::rms(config.epsilon("rms_norm_eps", 1e-6)?),
            norms: Norms {
                before_attention: Some("input_layernorm"),
                after_attention: None,
                before_mlp: Some("post_attention_layernorm"),
                after_mlp: None,
            },
            query_norms: QueryNorms::None,
            activation,
            rotary,
            blocks: vec![Attention { window: None, rotary: Some(0) }; config.blocks()?],
            scale: None,
            soft_cap: None,
            clamp: None,
            input_bias: false,
            output_bias: false,
            mlp_bias: false,
            gated: true,
            embedding_scale: None,
            residual_scale: None,
            logit_scale: None,
            logit_cap: None,
        })
    }

    /// Embedding and head share a matrix unless config.json says otherwise.
    pub fn tie_by_default(&mut self, config: &Config) -> Result<()> {
        self.tied = config.flag_or("tie_word_embeddings", true)?;
        Ok(())
    }

    /// Windows in late blocks, as the Qwens have them: where `use_sliding_window` asks for them.
    pub fn read_late_windows(&mut self, config: &Config) -> Result<()> {
        if !config.flag_or("use_sliding_window", false)? {
            return Ok(());
        }
        let window = config.size_or("sliding_window", 4096)?;
        let first = config.size_or("max_window_layers", 28)?;
        for (block, attention) in self.blocks.iter_mut().enumerate() {
            let slides = config.layer_type(block)?.map_or(block >= first, |kind| kind == "sliding_attention");
            attention.window = slides.then_some(window);
        }
        Ok(())
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
            block_prefix: "model.layers.",
            blocks,
            head: HeadSpec {
                finish: Some(Arc::new(BlockBuilder::final_norm(
                    self.hidden,
                    self.norm,
                    "model.norm",
                    self.logit_scale,
                ))),
                weight: if self.tied { EMBEDDING } else { "lm_head.weight" },
                bias: None,
                soft_cap: self.logit_cap,
                width: self.hidden,
            },
            rotary: self.rotary,
        }
    }

    fn block(&self, attention: Attention) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = self.attention(&mut block, attention);
        block.stage([attention]);
        let mlp = self.mlp(&mut block);
        block.stage([mlp]);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder, Attention { window, rotary }: Attention) -> Branch {
        let &Self { heads, kv_heads, head_dim, hidden, soft_cap, .. } = self;
        let mut layout = AttentionLayout { kv_heads, window, soft_cap, ..AttentionLayout::new(heads, head_dim) };
        layout.scale = self.scale.unwrap_or(layout.scale);
        let [of_queries, of_keys, of_values] = layout.widths();
        let mut branch = block.branch("attention", hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_attention);
        let mut query = branch.linear(x, "query", "self_attn.q_proj", of_queries, self.input_bias);
        let mut key = branch.linear(x, "key", "self_attn.k_proj", of_keys, self.input_bias);
        let mut value = branch.linear(x, "value", "self_attn.v_proj", of_values, self.input_bias);
        if self.query_norms != QueryNorms::None {
            let width = |row: usize| if self.query_norms == QueryNorms::Heads { head_dim } else { row };
            query = branch.norm_of(query, self.norm, "self_attn.q_norm", width(of_queries));
            key = branch.norm_of(key, self.norm, "self_attn.k_norm", width(of_keys));
        }
        if let Some(bound) = self.clamp {
            [query, key, value] = [query, key, value].map(|x| branch.clamp(x, bound));
        }
        if let Some(table) = rotary {
            query = branch.rotary(query, head_dim, table);
            key = branch.rotary(key, head_dim, table);
        }
        let mixed = branch.attention([query, key, value], layout);
        let y = branch.linear(mixed, "output", "self_attn.o_proj", hidden, self.output_bias);
        self.leave(branch, y, self.norms.after_attention)
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = self.normed(&mut branch, BranchBuilder::INPUT, self.norms.before_mlp);
        let activated = if self.gated {
            let gate = branch.linear(x, "gate", "mlp.gate_proj", self.intermediate, self.mlp_bias);
            let up = branch.linear(x, "up", "mlp.up_proj", self.intermediate, self.mlp_bias);
            branch.gated(self.activation, gate, up)
        } else {
            let up = branch.linear(x, "up", "mlp.up_proj", self.intermediate, self.mlp_bias);
            branch.activate(up, self.activation)
        };
        let y = branch.linear(activated, "down", "mlp.down_proj", self.hidden, self.mlp_bias);
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
