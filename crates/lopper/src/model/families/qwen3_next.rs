//! Qwen 3 Next and Qwen 3.5 (2025, 2026): Gated DeltaNet in three of four blocks, attention whose output passes a gate in the others, norms
//! whose weights are stored less one; experts, one of which every token goes to, or a feed-forward layer.

use super::config::Config;
use super::delta_net::DeltaNet;
use super::experts::{Experts, Matrices, Shared};
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use super::mixer::{Mixer, Mixers};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::form::Form;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults { max_positions: 32_768, head_dim: Some(256), rotated: Some(0.25), ..LLAMA };

pub fn next(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "qwen3_next", &DEFAULTS, true)?;
    // 0 says that there are none
    if config.number_or("num_experts", 512.0)? > 0.0 {
        let mut experts = Experts::shares(config, [512, 10], config.size_or("moe_intermediate_size", 512)?)?;
        experts.routing.normalised = config.flag_or("norm_topk_prob", true)?;
        experts.leave_out(config)?;
        experts.shared = Some(shared(config)?);
        form.take_experts(config, experts)?;
    }
    Ok(form.build())
}

/// Qwen 3.5 with a feed-forward layer.
pub fn dense(config: &Config) -> Result<DecoderSpec> {
    Ok(read(config, "qwen3_5_text", &DEFAULTS, false)?.build())
}

/// Qwen 3.5 with experts.
pub fn experts(config: &Config) -> Result<DecoderSpec> {
    let defaults = Defaults { width: ("moe_intermediate_size", Some(512)), ..DEFAULTS };
    let mut form = read(config, "qwen3_5_moe_text", &defaults, false)?;
    let mut experts = Experts::shares(config, [256, 8], form.intermediate)?;
    experts.routing.normalised = true;
    experts.shared = Some(shared(config)?);
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn shared(config: &Config) -> Result<Shared> {
    let width = config.size_or("shared_expert_intermediate_size", 512)?;
    let gate = Some("mlp.shared_expert_gate");
    Ok(Shared { name: "mlp.shared_expert", matrices: Matrices::PLAIN, width, gate })
}

fn read(config: &Config, family: &'static str, defaults: &Defaults, fused: bool) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, family, defaults)?;
    let mixer = DeltaNet::read(config, "linear_attn", form.norm, fused)?;
    form.norm = Norm { form: Form::LessOne, ..form.norm };
    form.query_norms = Some(QueryNorms::HEADS);
    form.gated_attention = true;
    form.read_attention_bias(config)?;
    let interval = config.size_or("full_attention_interval", 4)?;
    let by_place = || (1..=form.blocks.len()).map(|block| !block.is_multiple_of(interval)).collect();
    let blocks = config.recurs()?.unwrap_or_else(by_place);
    form.mixers = Some(Mixers { mixer: Mixer::Delta(mixer), blocks, beside: false });
    Ok(form)
}
