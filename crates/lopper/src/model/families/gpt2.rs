//! GPT-2 (Radford et al. 2019): learned positions; the file holds the weights of linear layers transposed; queries, keys and values come
//! from one matrix.

use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, LearnedPositions, Stem};

const EMBEDDING: &str = "transformer.wte.weight";
/// The first where config.json names none.
pub(super) const ACTIVATIONS: [(&str, Activation); 6] = [
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu", Activation::Gelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
];

struct Gpt2 {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    norm: Norm,
    activation: Activation,
    scaled: bool,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let hidden = config.size_of(&["n_embd", "hidden_size"])?;
    let positions = config.size_of(&["n_positions", "max_position_embeddings"])?;
    if config.flag_or("add_cross_attention", false)? {
        return Err(config.wrong("\"add_cross_attention\" makes half of a translator; only decoders can be pruned"));
    }
    let gpt2 = Gpt2 {
        hidden,
        intermediate: config.size_or("n_inner", 4 * hidden)?,
        heads: config.heads_at(&["n_head", "num_attention_heads"], hidden)?,
        norm: Norm::layer(config.epsilon("layer_norm_epsilon", 1e-5)?),
        activation: config.one_of("activation_function", &ACTIVATIONS)?,
        scaled: config.flag_or("scale_attn_weights", true)?,
    };
    let by_depth = config.flag_or("scale_attn_by_inverse_layer_idx", false)?;
    let alike = Arc::new(gpt2.block(1.0));
    let block = |index: usize| {
        if by_depth { Arc::new(gpt2.block((index as f32 + 1.0).recip())) } else { alike.clone() }
    };
    Ok(DecoderSpec {
        family: "gpt2",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: positions,
        stem: Stem {
            positions: Some(LearnedPositions { name: "transformer.wpe.weight", offset: 0, rows: positions }),
            ..Stem::plain(EMBEDDING, hidden)
        },
        block_prefix: "transformer.h.",
        blocks: (0..config.blocks_at(&["n_layer", "num_hidden_layers"])?).map(block).collect(),
        head: HeadSpec {
            finish: Some(Arc::new(BlockBuilder::final_norm(hidden, gpt2.norm, "transformer.ln_f", None))),
            weight: if config.flag_or("tie_word_embeddings", true)? { EMBEDDING } else { "lm_head.weight" },
            bias: None,
            soft_cap: None,
            width: hidden,
        },
        rotary: Vec::new(),
    })
}

impl Gpt2 {
    /// A block whose scores have a factor of their own.
    fn block(&self, factor: f32) -> BlockSpec {
        let mut block = BlockBuilder::transposed();
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
        let mut layout = AttentionLayout::new(heads, hidden / heads);
        layout.scale = factor * if self.scaled { layout.scale } else { 1.0 };
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "ln_1");
        let fused = branch.linear(x, "query_key_value", "attn.c_attn", 3 * hidden, true);
        let inputs = [0, 1, 2].map(|which| branch.columns(fused, Some(which * hidden..(which + 1) * hidden)));
        let mixed = branch.attention(inputs, layout);
        branch.linear(mixed, "output", "attn.c_proj", hidden, true);
        branch.finish()
    }
}
