//! Solar Open (Upstage 2025): Llama with experts in every block, scored each by itself, and one for every token.

use super::config::Config;
use super::experts::{Apart, Experts};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    width: ("moe_intermediate_size", None),
    epsilon: ("rms_norm_eps", 1e-5),
    max_positions: 131_072,
    head_dim: Some(128),
    rotated: Some(1.0),
    base: Base::One(1_000_000.0),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "solar_open", &DEFAULTS)?;
    form.input_bias = config.flag_or("attention_bias", false)?;
    let experts = Experts::apart(config, &Apart { normalised: true, groups: [1, 1], factor: 1.0 })?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
