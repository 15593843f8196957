//! BLOOM (BigScience 2022, arXiv 2211.05100): linear biases instead of positions, a norm of the embedding, queries, keys and values from one
//! matrix, head by head.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "transformer.word_embeddings.weight";

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let hidden = config.size_of(&["hidden_size", "n_embed"])?;
    let heads = config.heads_at(&["n_head", "num_attention_heads"], hidden)?;
    let norm = Norm::layer(config.epsilon("layer_norm_epsilon", 1e-5)?);
    if config.flag_or("apply_residual_connection_post_layernorm", false)? {
        return Err(
            config.wrong("\"apply_residual_connection_post_layernorm\" is not supported; no published model has it")
        );
    }
    let block = Arc::new(block(hidden, heads, norm));
    Ok(DecoderSpec {
        family: "bloom",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: config.size_or("seq_length", 2048)?,
        stem: Stem {
            transform: Some(Arc::new(BlockBuilder::final_norm(
                hidden,
                norm,
                "transformer.word_embeddings_layernorm",
                None,
            ))),
            ..Stem::plain(EMBEDDING, hidden)
        },
        block_prefix: "transformer.h.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks_at(&["n_layer", "num_hidden_layers"])?],
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, norm, "transformer.ln_f", None),
            "lm_head.weight",
            config.flag_or("tie_word_embeddings", true)?,
            hidden,
        ),
        rotary: Vec::new(),
    })
}

/// What each head takes off a score for each step back (Press et al. 2021, arXiv 2108.12409, §3): a geometric sequence that ends with
/// 2⁻⁸; where heads are no power of two, every other one of a sequence twice as fine for those beyond.
#[expect(clippy::cast_possible_wrap, reason = "heads are few")]
fn slopes(heads: usize) -> Vec<f32> {
    let (heads, power) = (heads as i32, 1 << heads.ilog2());
    // transformers takes powers of the rounded base, in f32
    let base = |power: i32| (-8.0 / f64::from(power)).exp2() as f32;
    let first = (1..=power).map(|head| base(power).powi(head));
    first.chain((0..heads - power).map(|head| base(2 * power).powi(2 * head + 1))).collect()
}

fn block(hidden: usize, heads: usize, norm: Norm) -> BlockSpec {
    let mut block = BlockBuilder::default();
    let attention = attention(&mut block, hidden, heads, norm);
    block.stage([attention]);
    let mut mlp = block.branch("mlp", hidden);
    let x = mlp.norm(BranchBuilder::INPUT, norm, "post_attention_layernorm");
    let up = mlp.linear(x, "up", "mlp.dense_h_to_4h", 4 * hidden, true);
    let activated = mlp.activate(up, Activation::GeluTanh);
    mlp.linear(activated, "down", "mlp.dense_4h_to_h", hidden, true);
    let mlp = mlp.finish();
    block.stage([mlp]);
    block.finish()
}

fn attention(block: &mut BlockBuilder, hidden: usize, heads: usize, norm: Norm) -> Branch {
    let head_dim = hidden / heads;
    let layout = AttentionLayout { slopes: slopes(heads), ..AttentionLayout::new(heads, head_dim) };
    let mut branch = block.branch("attention", hidden);
    let x = branch.norm(BranchBuilder::INPUT, norm, "input_layernorm");
    let fused = branch.linear(x, "query_key_value", "self_attention.query_key_value", 3 * hidden, true);
    let inputs = branch.by_head(fused, heads, heads, head_dim);
    let mixed = branch.attention(inputs, layout);
    branch.linear(mixed, "output", "self_attention.dense", hidden, true);
    branch.finish()
}
