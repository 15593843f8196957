//! GPT-2 (Radford et al. 2019): learned positions; the file holds the weights of linear layers transposed; queries, keys and values come
//! from one matrix. StarCoder 1 and SantaCoder (Li et al. 2023, arXiv 2305.06161) do not transpose, and one key serves all queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, LearnedPositions, Stem};

const EMBEDDING: &str = "transformer.wte.weight";

struct Gpt2 {
    family: &'static str,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    inputs: Inputs,
    norm: Norm,
    activation: Activation,
    scaled: bool,
}

/// How queries, keys and values lie in their matrix, and whether the file holds the matrices transposed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inputs {
    /// All queries, all keys, all values; transposed.
    Transposed,
    /// All queries, one key, one value.
    MultiQuery,
    /// Those of each head together.
    ByHead,
}

pub fn first(config: &Config) -> Result<DecoderSpec> {
    let gpt2 = Gpt2::read(config, "gpt2", "gelu_new", Inputs::Transposed)?;
    let by_depth = config.flag_or("scale_attn_by_inverse_layer_idx", false)?;
    let alike = Arc::new(gpt2.block(1.0));
    gpt2.decoder(
        config,
        |index| {
            if by_depth { Arc::new(gpt2.block((index as f32 + 1.0).recip())) } else { alike.clone() }
        },
    )
}

pub fn big_code(config: &Config) -> Result<DecoderSpec> {
    let inputs = if config.flag_or("multi_query", true)? { Inputs::MultiQuery } else { Inputs::ByHead };
    let gpt2 = Gpt2::read(config, "gpt_bigcode", "gelu_pytorch_tanh", inputs)?;
    let block = Arc::new(gpt2.block(1.0));
    gpt2.decoder(config, |_| block.clone())
}

impl Gpt2 {
    fn read(config: &Config, family: &'static str, activation: &'static str, inputs: Inputs) -> Result<Self> {
        let hidden = config.size_of(&["n_embd", "hidden_size"])?;
        if config.flag_or("add_cross_attention", false)? {
            return Err(config.wrong("\"add_cross_attention\" makes half of a translator; only decoders can be pruned"));
        }
        Ok(Self {
            family,
            hidden,
            intermediate: config.size_or("n_inner", 4 * hidden)?,
            heads: config.heads_at(&["n_head", "num_attention_heads"], hidden)?,
            inputs,
            norm: Norm::layer(config.epsilon("layer_norm_epsilon", 1e-5)?),
            activation: config.activation("activation_function", activation)?,
            scaled: config.flag_or("scale_attn_weights", true)?,
        })
    }

    fn decoder(&self, config: &Config, block: impl Fn(usize) -> Arc<BlockSpec>) -> Result<DecoderSpec> {
        let hidden = self.hidden;
        let positions = config.size_of(&["n_positions", "max_position_embeddings"])?;
        Ok(DecoderSpec {
            family: self.family,
            vocabulary: config.size("vocab_size")?,
            hidden,
            max_positions: positions,
            stem: Stem {
                positions: Some(LearnedPositions { name: "transformer.wpe.weight".into(), offset: 0, rows: positions }),
                ..Stem::plain(EMBEDDING, hidden)
            },
            block_prefix: "transformer.h.".into(),
            gone: BTreeMap::new(),
            fewer: BTreeMap::new(),
            blocks: (0..config.blocks_at(&["n_layer", "num_hidden_layers"])?).map(block).collect(),
            head: HeadSpec::plain(
                BlockBuilder::final_norm(hidden, self.norm, "transformer.ln_f", None),
                "lm_head.weight",
                config.flag_or("tie_word_embeddings", true)?,
                hidden,
            ),
            rotary: Vec::new(),
        })
    }

    /// A block whose scores have a factor of their own.
    fn block(&self, factor: f32) -> BlockSpec {
        let transposed = self.inputs == Inputs::Transposed;
        let mut block = if transposed { BlockBuilder::transposed() } else { BlockBuilder::default() };
        let attention = self.attention(&mut block, factor);
        block.stage([attention]);
        let mut mlp = block.branch("mlp", self.hidden);
        let x = mlp.norm(BranchBuilder::INPUT, self.norm, "ln_2");
        let up = mlp.linear(x, "up", "mlp.c_fc", self.intermediate, true);
        let activated = mlp.activate(up, self.activation);
        mlp.linear(activated, "down", "mlp.c_proj", self.hidden, true);
        let mlp = mlp.finish();
        block.stage([mlp]);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder, factor: f32) -> Branch {
        let &Self { hidden, heads, .. } = self;
        let head_dim = hidden / heads;
        let mut layout = AttentionLayout::new(heads, head_dim);
        layout.scale = factor * if self.scaled { layout.scale } else { 1.0 };
        layout.kv_heads = if self.inputs == Inputs::MultiQuery { 1 } else { heads };
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "ln_1");
        let fused = branch.linear(x, "query_key_value", "attn.c_attn", layout.widths().iter().sum(), true);
        let inputs = match self.inputs {
            Inputs::Transposed | Inputs::MultiQuery => branch.split(fused, layout.widths()),
            Inputs::ByHead => branch.by_head(fused, heads, heads, head_dim),
        };
        let mixed = branch.attention(inputs, layout);
        branch.linear(mixed, "output", "attn.c_proj", hidden, true);
        branch.finish()
    }
}
