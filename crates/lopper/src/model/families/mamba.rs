//! Mamba (Gu and Dao 2023, arXiv 2312.00752), Mamba 2 (arXiv 2405.21060) and Falcon Mamba: no attention, a recurrence instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;

use super::config::Config;
use super::mixer::{ByHead, Keys, Mixer, Selective, expanded, rank, states};
use crate::error::Result;
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem, UNBOUNDED};

const EMBEDDING: &str = "backbone.embeddings.weight";
/// What stands before the names of the tensors of a mixer.
const NAME: &str = "mixer";
const SECOND: Keys = Keys {
    heads: ("num_heads", 128),
    head_dim: ("head_dim", 64),
    groups: ("n_groups", 8),
    states: ("state_size", 128),
    taps: "conv_kernel",
    bias: "use_bias",
    filter_bias: "use_conv_bias",
    limits: "time_step_limit",
    activation: "hidden_act",
};

pub fn first(config: &Config) -> Result<DecoderSpec> {
    selective(config, "mamba", None)
}

pub fn falcon(config: &Config) -> Result<DecoderSpec> {
    let norm = Norm { weight: false, ..Norm::rms(config.epsilon("mixer_rms_eps", 1e-6)?) };
    selective(config, "falcon_mamba", Some((norm, [""; 3])))
}

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let width = expanded(config, "expand", config.size("hidden_size")?)?;
    let mixer = ByHead::read(config, NAME, &SECOND, width, norm(config)?)?;
    build(config, "mamba2", &Mixer::ByHead(mixer), false)
}

fn selective(config: &Config, family: &'static str, inner: Option<(Norm, [&'static str; 3])>) -> Result<DecoderSpec> {
    let hidden = config.size("hidden_size")?;
    if config.activation("hidden_act", "silu")? != Activation::Silu {
        return Err(config.wrong("\"hidden_act\" is not \"silu\": this family gates by nothing else"));
    }
    let mixer = Selective {
        name: NAME,
        width: expanded(config, "expand", hidden)?,
        states: states(config, ("state_size", 16))?,
        taps: config.size_or("conv_kernel", 4)?,
        rank: rank(config, "time_step_rank", hidden)?,
        inner,
        bias: config.flag_or("use_bias", false)?,
        filter_bias: config.flag_or("use_conv_bias", true)?,
    };
    build(config, family, &Mixer::Selective(mixer), true)
}

fn norm(config: &Config) -> Result<Norm> {
    Ok(Norm::rms(config.epsilon("layer_norm_epsilon", 1e-5)?))
}

fn build(config: &Config, family: &'static str, mixer: &Mixer, tied: bool) -> Result<DecoderSpec> {
    let (hidden, norm) = (config.size("hidden_size")?, norm(config)?);
    let mut block = BlockBuilder::default();
    let mut branch = block.branch("mixer", hidden);
    let x = branch.norm(BranchBuilder::INPUT, norm, "norm");
    mixer.mix(&mut branch, x, hidden);
    let branch = branch.finish();
    block.stage([branch]);
    let block = Arc::new(block.finish());
    Ok(DecoderSpec {
        family,
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: UNBOUNDED,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "backbone.layers.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: vec![block; config.blocks()?],
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, norm, "backbone.norm_f", None),
            "lm_head.weight",
            config.flag_or("tie_word_embeddings", tied)?,
            hidden,
        ),
        rotary: Vec::new(),
    })
}
