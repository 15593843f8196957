//! GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv 2304.01373): attention and feed-forward layer
//! read the same states, side by side; queries, keys and values come from one matrix, head by head; part of each head is rotated.

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

const EMBEDDING: &str = "gpt_neox.embed_in.weight";

struct GptNeox {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    attention_bias: bool,
    norm: Norm,
    activation: Activation,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let hidden = config.size("hidden_size")?;
    let heads = config.heads_of(hidden)?;
    let neox = GptNeox {
        hidden,
        intermediate: config.size("intermediate_size")?,
        heads,
        attention_bias: config.flag_or("attention_bias", true)?,
        norm: Norm::layer(config.epsilon("layer_norm_eps", 1e-5)?),
        activation: config.activation("hidden_act", "gelu")?,
    };
    let max_positions = config.size_or("max_position_embeddings", 2048)?;
    let block = Arc::new(neox.block(config.flag_or("use_parallel_residual", true)?));
    Ok(DecoderSpec {
        family: "gpt_neox",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "gpt_neox.layers.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks()?],
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, neox.norm, "gpt_neox.final_layer_norm", None),
            "embed_out.weight",
            config.flag_or("tie_word_embeddings", false)?,
            hidden,
        ),
        rotary: vec![config.rotary(
            (hidden / heads, max_positions),
            &RotaryDefaults { share: Some(("rotary_pct", 0.25)), base: ("rotary_emb_base", 10_000.0), original: None },
        )?],
    })
}

impl GptNeox {
    fn block(&self, parallel: bool) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let branches = [self.attention(&mut block), self.mlp(&mut block)];
        block.stages(parallel, branches);
        block.finish()
    }

    fn attention(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { hidden, heads, attention_bias: bias, .. } = self;
        let head_dim = hidden / heads;
        let layout = AttentionLayout::new(heads, head_dim);
        let mut branch = block.branch("attention", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "input_layernorm");
        let fused = branch.linear(x, "query_key_value", "attention.query_key_value", 3 * hidden, bias);
        let [query, key, value] = branch.by_head(fused, heads, heads, head_dim);
        let query = branch.rotary(query, head_dim, 0);
        let key = branch.rotary(key, head_dim, 0);
        let mixed = branch.attention([query, key, value], layout);
        branch.linear(mixed, "output", "attention.dense", hidden, bias);
        branch.finish()
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "post_attention_layernorm");
        let up = branch.linear(x, "up", "mlp.dense_h_to_4h", self.intermediate, true);
        let activated = branch.activate(up, self.activation);
        branch.linear(activated, "down", "mlp.dense_4h_to_h", self.hidden, true);
        branch.finish()
    }
}
