//! Helium (Kyutai 2025): Llama that turns neighbouring entries of a head together.

use super::config::Config;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1e-8),
    max_positions: 4096,
    head_dim: Some(128),
    base: Base::One(100_000.0),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "helium", &DEFAULTS)?;
    form.heads_fill_width(config)?;
    form.turn_neighbours();
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
