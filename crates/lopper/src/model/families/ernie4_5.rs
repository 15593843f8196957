//! ERNIE 4.5 (Baidu 2025), its dense models: Llama that turns neighbouring entries of a head together.

use super::config::Config;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1e-5),
    max_positions: 131_072,
    head_dim: Some(128),
    base: Base::One(500_000.0),
    tied: true,
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "ernie4_5", &DEFAULTS)?;
    form.turn_neighbours();
    let bias = config.flag_or("use_bias", false)?;
    (form.input_bias, form.output_bias, form.mlp_bias) = (bias, bias, bias);
    Ok(form.build())
}
