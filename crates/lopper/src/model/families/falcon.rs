//! Falcon (Almazrouei et al. 2023, arXiv 2311.16867): queries, keys and values come from one matrix, and few keys serve many queries;
//! attention and feed-forward layer stand side by side, with one norm (7B) or two (40B and later).

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use super::rotary_config::RotaryDefaults;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "transformer.word_embeddings.weight";

struct Falcon {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    bias: bool,
    norm: Norm,
    /// Before attention and feed-forward layer.
    norms: [&'static str; 2],
    parallel: bool,
    activation: Activation,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    if config.flag_or("alibi", false)? {
        return Err(config.wrong(
            "\"alibi\" of Falcon, rounded to bf16 by position, is not supported; no model after Falcon-RW has it",
        ));
    }
    let hidden = config.size_of(&["n_embed", "hidden_size"])?;
    let heads = config.heads_of(hidden)?;
    let (grouped, parallel) =
        (config.flag_or("new_decoder_architecture", false)?, config.flag_or("parallel_attn", true)?);
    if grouped && !parallel {
        return Err(config.wrong("\"new_decoder_architecture\" needs \"parallel_attn\""));
    }
    let kv_heads = match (grouped, config.flag_or("multi_query", true)?) {
        (true, _) => config.kv_heads("num_kv_heads", heads)?,
        (false, true) => 1,
        (false, false) => heads,
    };
    let falcon = Falcon {
        hidden,
        intermediate: config.size_or("ffn_hidden_size", 4 * hidden)?,
        heads,
        kv_heads,
        bias: config.flag_or("bias", false)?,
        norm: Norm::layer(config.epsilon("layer_norm_epsilon", 1e-5)?),
        norms: match (parallel, grouped && config.size_or("num_ln_in_parallel_attn", 2)? == 2) {
            (false, _) => ["input_layernorm", "post_attention_layernorm"],
            (true, false) => ["input_layernorm", "input_layernorm"],
            (true, true) => ["ln_attn", "ln_mlp"],
        },
        parallel,
        activation: config.activation("activation", "gelu")?,
    };
    let max_positions = config.size_or("max_position_embeddings", 2048)?;
    let block = Arc::new(falcon.block());
    Ok(DecoderSpec {
        family: "falcon",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "transformer.h.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks()?],
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, falcon.norm, "transformer.ln_f", None),
            "lm_head.weight",
            config.flag_or("tie_word_embeddings", true)?,
            hidden,
        ),
        rotary: vec![config.rotary(
            (hidden / heads, max_positions),
            &RotaryDefaults { share: None, base: ("rope_theta", 10_000.0), original: None },
        )?],
    })
}

impl Falcon {
    fn block(&self) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let branches = [self.attention(&mut block), self.mlp(&mut block)];
        block.stages(self.parallel, branches);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { hidden, heads, kv_heads, bias, .. } = self;
        let head_dim = hidden / heads;
        let layout = AttentionLayout { kv_heads, ..AttentionLayout::new(heads, head_dim) };
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, self.norms[0]);
        let width = layout.widths().iter().sum();
        let fused = branch.linear(x, "query_key_value", "self_attention.query_key_value", width, bias);
        let [query, key, value] = branch.by_head(fused, heads, kv_heads, head_dim);
        let query = branch.rotary(query, head_dim, 0);
        let key = branch.rotary(key, head_dim, 0);
        let mixed = branch.attention([query, key, value], layout);
        branch.linear(mixed, "output", "self_attention.dense", hidden, bias);
        branch.finish()
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, self.norms[1]);
        let up = branch.linear(x, "up", "mlp.dense_h_to_4h", self.intermediate, self.bias);
        let activated = branch.activate(up, self.activation);
        branch.linear(activated, "down", "mlp.dense_4h_to_h", self.hidden, self.bias);
        branch.finish()
    }
}
