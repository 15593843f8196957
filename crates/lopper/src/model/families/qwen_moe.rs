//! Qwen 1.5 and 2 with experts, one of which every token goes to through a gate of its own, and Qwen 3 with experts (arXiv 2407.10671,
//! 2505.09388).

use super::config::Config;
use super::experts::{Experts, Matrices, Shared};
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults { max_positions: 32_768, ..LLAMA };

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "qwen2_moe", &DEFAULTS)?;
    form.input_bias = config.flag_or("qkv_bias", true)?;
    if config.flag_or("use_sliding_window", false)? {
        let last = config.size_or("max_window_layers", 28)?;
        form.read_windows(config, Some(4096), |block| block % 2 == 0 && block < last)?;
    }
    let mut experts = Experts::shares(config, [60, 4], config.size_or("moe_intermediate_size", 1408)?)?;
    experts.leave_out(config)?;
    experts.shared = Some(Shared {
        name: "mlp.shared_expert",
        matrices: Matrices::PLAIN,
        width: config.size_or("shared_expert_intermediate_size", 5632)?,
        gate: Some("mlp.shared_expert_gate"),
    });
    form.take_experts(config, experts)?;
    Ok(form.build())
}

/// The text part of Qwen 3 with images.
pub fn of_images(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "qwen3_moe", &DEFAULTS)?;
    form.query_norms = Some(QueryNorms::HEADS);
    form.read_attention_bias(config)?;
    let mut experts = Experts::shares(config, [60, 4], config.size_or("moe_intermediate_size", 1408)?)?;
    experts.routing.normalised = true;
    experts.leave_out(config)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

pub fn third(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "qwen3_moe", &DEFAULTS)?;
    form.query_norms = Some(QueryNorms::HEADS);
    form.read_attention_bias(config)?;
    if config.flag_or("use_sliding_window", false)? {
        form.slide_everywhere(config, Some(4096))?;
    }
    let mut experts = Experts::shares(config, [128, 8], config.size_or("moe_intermediate_size", 768)?)?;
    experts.leave_out(config)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
