//! OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions, layer norms, ReLU and biases. The 350M model norms after each sum
//! instead of before each branch, and its embedding is narrower than its blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use crate::autograd::AttentionLayout;
use crate::error::Result;
use crate::model::block_spec::{BlockSpec, Branch};
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, LearnedPositions, Stem};

const EMBEDDING: &str = "model.decoder.embed_tokens.weight";
/// Rows of the table of positions that stand before the first.
const OFFSET: usize = 2;

struct Opt {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    bias: bool,
    norm: Norm,
    norm_first: bool,
    activation: Activation,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let hidden = config.size("hidden_size")?;
    let heads = config.heads_of(hidden)?;
    let (width, max_positions) =
        (config.size_or("word_embed_proj_dim", hidden)?, config.size("max_position_embeddings")?);
    let affine = config.flag_or("layer_norm_elementwise_affine", true)?;
    let opt = Opt {
        hidden,
        intermediate: config.size("ffn_dim")?,
        heads,
        bias: config.flag_or("enable_bias", true)?,
        norm: Norm { weight: affine, bias: affine, ..Norm::layer(1e-5) },
        norm_first: config.flag_or("do_layer_norm_before", true)?,
        activation: config.activation("activation_function", "relu")?,
    };
    let final_norm = opt.norm_first && !config.flag_or("_remove_final_layer_norm", false)?;
    let block = Arc::new(opt.block());
    Ok(DecoderSpec {
        family: "opt",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions,
        stem: Stem {
            embedding: EMBEDDING.into(),
            width,
            scale: None,
            transform: (width != hidden).then(|| Arc::new(projection("model.decoder.project_in", width, hidden))),
            positions: Some(LearnedPositions {
                name: "model.decoder.embed_positions.weight".into(),
                offset: OFFSET,
                rows: max_positions + OFFSET,
            }),
        },
        block_prefix: "model.decoder.layers.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks()?],
        head: HeadSpec {
            finish: opt.finish(final_norm, width),
            weight: "lm_head.weight".into(),
            tied: config.flag_or("tie_word_embeddings", true)?,
            bias: None,
            soft_cap: None,
            width,
        },
        rotary: Vec::new(),
    })
}

/// A linear layer between the width of the embedding and that of the blocks.
fn projection(name: &str, from: usize, to: usize) -> BlockSpec {
    let mut block = BlockBuilder::default();
    let mut branch = block.branch("projection", from);
    branch.linear(BranchBuilder::INPUT, "projection", name, to, false);
    let branch = branch.finish();
    block.replacing(branch)
}

impl Opt {
    fn block(&self) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let attention = self.attention(&mut block);
        self.stage(&mut block, attention, "self_attn_layer_norm");
        let mlp = self.mlp(&mut block);
        self.stage(&mut block, mlp, "final_layer_norm");
        block.finish()
    }

    fn stage(&self, block: &mut BlockBuilder, branch: Branch, norm: &str) {
        if self.norm_first { block.stage([branch]) } else { block.normed_stage([branch], self.norm, norm) }
    }

    fn attention(&self, block: &mut BlockBuilder) -> Branch {
        let &Self { hidden, heads, bias, .. } = self;
        let head_dim = hidden / heads;
        let layout = AttentionLayout::new(heads, head_dim);
        let mut branch = block.branch("attention", hidden);
        let x = self.before(&mut branch, "self_attn_layer_norm");
        let query = branch.linear(x, "query", "self_attn.q_proj", hidden, bias);
        let key = branch.linear(x, "key", "self_attn.k_proj", hidden, bias);
        let value = branch.linear(x, "value", "self_attn.v_proj", hidden, bias);
        let mixed = branch.attention([query, key, value], layout);
        branch.linear(mixed, "output", "self_attn.out_proj", hidden, bias);
        branch.finish()
    }

    fn mlp(&self, block: &mut BlockBuilder) -> Branch {
        let mut branch = block.branch("mlp", self.hidden);
        let x = self.before(&mut branch, "final_layer_norm");
        let up = branch.linear(x, "up", "fc1", self.intermediate, self.bias);
        let activated = branch.activate(up, self.activation);
        branch.linear(activated, "down", "fc2", self.hidden, self.bias);
        branch.finish()
    }

    /// What the linear layers of a branch read.
    fn before(&self, branch: &mut BranchBuilder, norm: &str) -> usize {
        if self.norm_first { branch.norm(BranchBuilder::INPUT, self.norm, norm) } else { BranchBuilder::INPUT }
    }

    fn finish(&self, norm: bool, width: usize) -> Option<Arc<BlockSpec>> {
        if !norm && width == self.hidden {
            return None;
        }
        let mut block = BlockBuilder::default();
        let mut branch = block.branch("final norm", self.hidden);
        let mut x = BranchBuilder::INPUT;
        if norm {
            x = branch.norm(x, self.norm, "model.decoder.final_layer_norm");
        }
        if width != self.hidden {
            branch.linear(x, "projection", "model.decoder.project_out", width, false);
        }
        let branch = branch.finish();
        Some(Arc::new(block.replacing(branch)))
    }
}
