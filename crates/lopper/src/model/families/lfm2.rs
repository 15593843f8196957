//! LFM 2 (Liquid AI 2025, arXiv 2511.23404): short convolutions between two gates, in some blocks attention; with a feed-forward layer, or
//! with experts.

use lopper_kernels::Activation;

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices};
use super::llama_block::{Names, Norms, QueryNorms};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use super::mixer::{Filter, Mixer, Mixers};
use crate::autograd::Scoring;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults =
    Defaults { epsilon: ("norm_eps", 1e-5), max_positions: 128_000, base: Base::One(1_000_000.0), tied: true, ..LLAMA };
const NAMES: Names = Names {
    output: "self_attn.out_proj",
    gate: "feed_forward.w1",
    up: "feed_forward.w3",
    down: "feed_forward.w2",
    ..Names::PLAIN
};
const NORMS: Norms = Norms {
    before_attention: Some("operator_norm"),
    before_mlp: Some("ffn_norm"),
    last: "model.embedding_norm",
    ..Norms::BEFORE
};
const QUERY_NORMS: QueryNorms =
    QueryNorms { query: "self_attn.q_layernorm", key: "self_attn.k_layernorm", ..QueryNorms::HEADS };
const EXPERTS: ExpertNames = ExpertNames {
    router: "feed_forward.gate",
    experts: "feed_forward.experts",
    matrices: Matrices::Apart { gate: "w1", up: "w3", down: "w2" },
};

pub fn dense(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "lfm2")?;
    if config.flag_or("block_auto_adjust_ff_dim", true)? {
        form.intermediate = adjusted(config, form.intermediate)?;
    }
    Ok(form.build())
}

pub fn experts(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "lfm2_moe")?;
    let mut experts = Experts::shares(config, [32, 4], config.size_or("moe_intermediate_size", 1792)?)?;
    experts.names = EXPERTS;
    experts.routing.scoring = Scoring::Sigmoid;
    experts.routing.normalised = config.flag_or("norm_topk_prob", true)?;
    experts.routing.factor = config.positive_or("routed_scaling_factor", 1.0)? as f32;
    experts.correction = config.flag_or("use_expert_bias", true)?.then_some("feed_forward.expert_bias");
    experts.begin_after(config, "num_dense_layers", 2)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn read(config: &Config, family: &'static str) -> Result<LlamaForm> {
    // files of before have a key of their own, which wins
    let own = "block_ff_dim";
    let width = if config.get(own).is_some() { (own, None) } else { DEFAULTS.width };
    let mut form = LlamaForm::read(config, family, &Defaults { width, ..DEFAULTS })?;
    (form.names, form.norms, form.query_norms) = (NAMES, NORMS, Some(QUERY_NORMS));
    form.activation = Activation::Silu;
    form.tied = config.flag_or("tie_embedding", form.tied)?;
    let taps = config.size_or("conv_L_cache", 3)?;
    let mixer = Filter { name: "conv", taps, bias: config.flag_or("conv_bias", false)? };
    let blocks = match config.recurs()? {
        Some(blocks) => blocks,
        None => match config.blocks_named("full_attn_idxs")? {
            Some(attention) => attention.into_iter().map(|attends| !attends).collect(),
            None => vec![false; form.blocks.len()],
        },
    };
    form.mixers = Some(Mixers { mixer: Mixer::Filter(mixer), blocks, beside: false });
    Ok(form)
}

/// Two thirds of a width; unless the factor is `null`, times it and in whole multiples.
fn adjusted(config: &Config, width: usize) -> Result<usize> {
    let (key, width) = ("block_ffn_dim_multiplier", 2 * width / 3);
    let plain = config.has(key) && config.get(key).is_none();
    let multiple = config.size_or("block_multiple_of", 256)?;
    let scaled = if plain { width as f64 } else { config.positive_or(key, 1.0)? * width as f64 };
    if !(1.0..4e9).contains(&scaled) {
        return Err(config.wrong(format!("{key:?} makes {scaled} neurons")));
    }
    Ok(if plain { width } else { (scaled as usize).next_multiple_of(multiple) })
}
