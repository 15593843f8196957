//! Granite 3 and 4 (IBM 2024, 2025): Llama with factors of the embedding, the branches, the scores and the logits; with a feed-forward layer,
//! or with experts and in some models one for every token, or with Mamba 2 in most blocks.

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices, Shared};
use super::llama_block::Mlp;
use super::llama_form::{LLAMA, LlamaForm};
use super::mixer::{ByHead, HYBRID, Mixer, Mixers, expanded};
use crate::error::Result;
use crate::model::form::Form;
use crate::model::spec::DecoderSpec;

const NAMES: ExpertNames = ExpertNames {
    router: "block_sparse_moe.router.layer",
    experts: "block_sparse_moe",
    matrices: Matrices::Stacked { gate_up: "input_linear.weight", down: "output_linear.weight", form: Form::Plain },
};

pub fn dense(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "granite")?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}

pub fn experts(config: &Config) -> Result<DecoderSpec> {
    with_experts(config, "granitemoe", None)
}

pub fn shared(config: &Config) -> Result<DecoderSpec> {
    let key = "shared_intermediate_size";
    // 0 says that there is none
    let width = if config.number_or(key, 0.0)? > 0.0 { Some(config.size(key)?) } else { None };
    with_experts(
        config,
        "granitemoeshared",
        width.map(|width| Shared { name: "shared_mlp", matrices: NAMES.matrices, width, gate: None }),
    )
}

/// Granite 4: Mamba 2 in most blocks, attention with rotary positions or with none in the others, experts or no experts, and a feed-forward
/// layer that every token goes to.
pub fn hybrid(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "granitemoehybrid")?;
    let shared = Shared {
        name: "shared_mlp",
        matrices: NAMES.matrices,
        width: config.size_or("shared_intermediate_size", 1024)?,
        gate: None,
    };
    if config.number_or("num_local_experts", 8.0)? > 0.0 {
        let mut experts = Experts::shares(config, [8, 2], form.intermediate)?;
        (experts.names, experts.shared) = (NAMES, Some(shared));
        experts.routing.normalised = true;
        form.take_experts(config, experts)?;
    } else {
        (form.mlp, form.intermediate) = (Mlp::Fused, shared.width);
        (form.names.gate_up, form.names.down) = ("shared_mlp.input_linear", "shared_mlp.output_linear");
    }
    if config.text_or("position_embedding_type", "")? != "rope" {
        form.forget_positions();
    }
    let width = expanded(config, "mamba_expand", form.hidden)?;
    let mixer = Mixer::ByHead(ByHead::read(config, "mamba", &HYBRID, width, form.norm)?);
    let blocks = config.recurs()?.unwrap_or_else(|| vec![true; form.blocks.len()]);
    form.mixers = Some(Mixers { mixer, blocks, beside: false });
    Ok(form.build())
}

fn with_experts(config: &Config, family: &'static str, shared: Option<Shared>) -> Result<DecoderSpec> {
    let mut form = read(config, family)?;
    let mut experts = Experts::shares(config, [8, 2], form.intermediate)?;
    (experts.names, experts.shared) = (NAMES, shared);
    experts.routing.normalised = true;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn read(config: &Config, family: &'static str) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, family, &LLAMA)?;
    form.read_attention_bias(config)?;
    form.embedding_scale = config.factor("embedding_multiplier")?;
    form.residual_scale = config.factor("residual_multiplier")?;
    form.scale = Some(config.positive_or("attention_multiplier", 1.0)? as f32);
    form.logit_scale = config.factor("logits_scaling")?.map(f32::recip);
    Ok(form)
}
