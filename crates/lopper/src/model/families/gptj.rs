//! GPT-J (Wang & Komatsuzaki 2021): attention and feed-forward layer read one norm, side by side; neighbouring entries of the first part of
//! each head turn together; the head has a bias.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::{Activation, RotaryPairs};

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::rotary::{RotaryScaling, RotarySpec};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "transformer.wte.weight";
/// What both branches read.
const NORM: &str = "ln_1";

struct GptJ {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    norm: Norm,
    activation: Activation,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let hidden = config.size_of(&["n_embd", "hidden_size"])?;
    let gptj = GptJ {
        hidden,
        intermediate: config.size_or("n_inner", 4 * hidden)?,
        heads: config.heads_at(&["n_head", "num_attention_heads"], hidden)?,
        norm: Norm::layer(config.epsilon("layer_norm_epsilon", 1e-5)?),
        activation: config.activation("activation_function", "gelu_new")?,
    };
    let dim = config.size_or("rotary_dim", 64)?;
    if dim > hidden / gptj.heads || !dim.is_multiple_of(2) {
        return Err(config.wrong(format!("\"rotary_dim\" is {dim} of heads of {}", hidden / gptj.heads)));
    }
    let block = Arc::new(gptj.block());
    Ok(DecoderSpec {
        family: "gptj",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: config.size_of(&["n_positions", "max_position_embeddings"])?,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "transformer.h.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks_at(&["n_layer", "num_hidden_layers"])?],
        head: HeadSpec {
            bias: Some("lm_head.bias".into()),
            ..HeadSpec::plain(
                BlockBuilder::final_norm(hidden, gptj.norm, "transformer.ln_f", None),
                "lm_head.weight",
                config.flag_or("tie_word_embeddings", false)?,
                hidden,
            )
        },
        rotary: vec![RotarySpec {
            theta: 10_000.0,
            dim,
            pairs: RotaryPairs::Neighbours,
            scaling: RotaryScaling::Default,
        }],
    })
}

impl GptJ {
    fn block(&self) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = self.attention(&mut block);
        let mlp = self.mlp(&mut block);
        block.stage([attention, mlp]);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { hidden, heads, .. } = self;
        let head_dim = hidden / heads;
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, NORM);
        let query = branch.linear(x, "query", "attn.q_proj", hidden, false);
        let key = branch.linear(x, "key", "attn.k_proj", hidden, false);
        let value = branch.linear(x, "value", "attn.v_proj", hidden, false);
        let query = branch.rotary(query, head_dim, 0);
        let key = branch.rotary(key, head_dim, 0);
        let mixed = branch.attention([query, key, value], AttentionLayout::new(heads, head_dim));
        branch.linear(mixed, "output", "attn.out_proj", hidden, false);
        branch.finish()
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, NORM);
        let up = branch.linear(x, "up", "mlp.fc_in", self.intermediate, true);
        let activated = branch.activate(up, self.activation);
        branch.linear(activated, "down", "mlp.fc_out", self.hidden, true);
        branch.finish()
    }
}
