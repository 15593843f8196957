//! GLM 4.5 and 4.6 (GLM-4.5 Team 2025, arXiv 2508.06471): Llama with part of each head rotated, experts, and one for every token.

use super::config::Config;
use super::experts::{Apart, Experts};
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let defaults = Defaults { max_positions: 131_072, epsilon: ("rms_norm_eps", 1e-5), rotated: Some(0.5), ..LLAMA };
    let mut form = LlamaForm::read(config, "glm4_moe", &defaults)?;
    form.query_norms = config.flag_or("use_qk_norm", false)?.then_some(QueryNorms::HEADS);
    form.input_bias = config.flag_or("attention_bias", false)?;
    let mut experts = Experts::apart(config, &Apart { normalised: true, groups: [1, 1], factor: 1.0 })?;
    experts.begin_after(config, "first_k_dense_replace", 1)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
