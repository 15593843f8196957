//! Nemotron and Minitron (Parmar et al. 2024, arXiv 2402.16819): layer norms whose weights are stored less one, squared ReLU without a
//! gate, half of each head rotated.

use super::config::Config;
use super::llama_block::Mlp;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::form::Form;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    activation: ("hidden_act", "relu2"),
    epsilon: ("norm_eps", 1e-5),
    max_positions: 4096,
    rotated: Some(0.5),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "nemotron", &DEFAULTS)?;
    form.norm = Norm { form: Form::LessOne, ..Norm::layer(form.norm.epsilon) };
    form.mlp = Mlp::Plain;
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
