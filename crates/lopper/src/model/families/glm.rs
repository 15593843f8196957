//! GLM-4 (GLM Team 2024, arXiv 2406.12793; 2025): Llama that turns neighbouring entries of the first half of each head and gates from one
//! matrix; the later form norms what a branch gives too.

use super::config::Config;
use super::llama_block::{Mlp, Norms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1.562_5e-7),
    max_positions: 131_072,
    head_dim: Some(128),
    rotated: Some(0.5),
    ..LLAMA
};

pub fn first(config: &Config) -> Result<DecoderSpec> {
    finish(config, LlamaForm::read(config, "glm", &DEFAULTS)?)
}

pub fn fourth(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "glm4", &DEFAULTS)?;
    form.norms = Norms {
        after_attention: Some("post_self_attn_layernorm"),
        after_mlp: Some("post_mlp_layernorm"),
        ..Norms::BEFORE
    };
    finish(config, form)
}

fn finish(config: &Config, mut form: LlamaForm) -> Result<DecoderSpec> {
    form.turn_neighbours();
    form.mlp = Mlp::Fused;
    form.input_bias = config.flag_or("attention_bias", true)?;
    Ok(form.build())
}
