//! The form that Llama gave to most families: RMS norm, rotary attention with grouped queries, RMS norm, gated feed-forward layer.
//! A family reads it from config.json, changes what it has otherwise, and builds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::rotary::RotarySpec;
use crate::model::spec::{BlockSpec, Branch, DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "model.embed_tokens.weight";
const ACTIVATIONS: [(&str, Activation); 2] = [("silu", Activation::Silu), ("swish", Activation::Silu)];

/// A decoder of this form.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one tensor is there")]
pub struct LlamaForm {
    family: &'static str,
    vocabulary: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    max_positions: usize,
    norm: Norm,
    activation: Activation,
    rotary: RotarySpec,
    tied: bool,
    /// Whether queries, keys and values have biases.
    pub input_bias: bool,
    /// Whether the output of the attention has one.
    pub output_bias: bool,
    /// Whether the feed-forward layer has biases.
    pub mlp_bias: bool,
    /// Whether queries and keys are normed, head by head.
    pub head_norms: bool,
    /// Sliding window of each block; `None` sees everything before it.
    pub windows: Vec<Option<usize>>,
}

impl LlamaForm {
    /// As far as the families agree.
    pub fn read(config: &Config, family: &'static str) -> Result<Self> {
        let (hidden, heads) = (config.size("hidden_size")?, config.heads()?);
        Self::with_head_dim(config, family, config.head_dim(hidden / heads)?)
    }

    /// The same where heads have a width of their own.
    pub fn with_head_dim(config: &Config, family: &'static str, head_dim: usize) -> Result<Self> {
        let activation = config.one_of("hidden_act", &ACTIVATIONS)?;
        let (hidden, heads) = (config.size("hidden_size")?, config.heads()?);
        let kv_heads = config.size_or("num_key_value_heads", heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(config.wrong(format!("{heads} attention heads cannot share {kv_heads} key-value heads")));
        }
        let (blocks, max_positions) = (config.blocks()?, config.size_or("max_position_embeddings", 2048)?);
        Ok(Self {
            family,
            vocabulary: config.size("vocab_size")?,
            hidden,
            intermediate: config.size("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            norm: Norm::rms(config.epsilon("rms_norm_eps", 1e-6)?),
            activation,
            rotary: config.rotary(head_dim, max_positions, ("partial_rotary_factor", 1.0), ("rope_theta", 10_000.0))?,
            tied: config.flag_or("tie_word_embeddings", false)?,
            input_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_norms: false,
            windows: vec![None; blocks],
        })
    }

    /// Windows in late blocks, as the Qwens have them: where `use_sliding_window` asks for them.
    pub fn read_late_windows(&mut self, config: &Config) -> Result<()> {
        if !config.flag_or("use_sliding_window", false)? {
            return Ok(());
        }
        let window = config.size_or("sliding_window", 4096)?;
        let first = config.size_or("max_window_layers", 28)?;
        for (block, slot) in self.windows.iter_mut().enumerate() {
            let slides = config.layer_type(block)?.map_or(block >= first, |kind| kind == "sliding_attention");
            *slot = slides.then_some(window);
        }
        Ok(())
    }

    /// The decoder.
    pub fn build(self) -> DecoderSpec {
        let mut kinds = BTreeMap::new();
        let mut block =
            |&window: &Option<usize>| kinds.entry(window).or_insert_with(|| Arc::new(self.block(window))).clone();
        let blocks = self.windows.iter().map(&mut block).collect();
        DecoderSpec {
            family: self.family,
            vocabulary: self.vocabulary,
            hidden: self.hidden,
            max_positions: self.max_positions,
            stem: Stem { embedding: EMBEDDING, width: self.hidden, projection: None, positions: None },
            block_prefix: "model.layers.",
            blocks,
            head: HeadSpec {
                finish: Some(Arc::new(BlockBuilder::final_norm(self.hidden, self.norm, "model.norm"))),
                weight: if self.tied { EMBEDDING } else { "lm_head.weight" },
                width: self.hidden,
            },
            rotary: vec![self.rotary],
        }
    }

    fn block(&self, window: Option<usize>) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = self.attention(&mut block, window);
        block.stage([attention]);
        let mlp = self.mlp(&mut block);
        block.stage([mlp]);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder, window: Option<usize>) -> Branch {
        let &Self { heads, kv_heads, head_dim, hidden, .. } = self;
        let layout = AttentionLayout { kv_heads, window, ..AttentionLayout::new(heads, head_dim) };
        let [of_queries, of_keys, of_values] = layout.widths();
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "input_layernorm");
        let mut query = branch.linear(x, "query", "self_attn.q_proj", of_queries, self.input_bias);
        let mut key = branch.linear(x, "key", "self_attn.k_proj", of_keys, self.input_bias);
        let value = branch.linear(x, "value", "self_attn.v_proj", of_values, self.input_bias);
        if self.head_norms {
            query = branch.norm_of(query, self.norm, "self_attn.q_norm", head_dim);
            key = branch.norm_of(key, self.norm, "self_attn.k_norm", head_dim);
        }
        let query = branch.rotary(query, head_dim, 0);
        let key = branch.rotary(key, head_dim, 0);
        let mixed = branch.attention([query, key, value], layout);
        branch.linear(mixed, "output", "self_attn.o_proj", hidden, self.output_bias);
        branch.finish()
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "post_attention_layernorm");
        let gate = branch.linear(x, "gate", "mlp.gate_proj", self.intermediate, self.mlp_bias);
        let up = branch.linear(x, "up", "mlp.up_proj", self.intermediate, self.mlp_bias);
        let activated = branch.gated(self.activation, gate, up);
        branch.linear(activated, "down", "mlp.down_proj", self.hidden, self.mlp_bias);
        branch.finish()
    }
}
