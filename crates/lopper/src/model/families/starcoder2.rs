//! StarCoder2 (Lozhkov et al. 2024, arXiv 2402.19173): Mistral with layer norms, biases, and no gate.

use super::config::Config;
use super::llama_block::{Mlp, Names};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    activation: ("hidden_act", "gelu_pytorch_tanh"),
    epsilon: ("norm_epsilon", 1e-5),
    max_positions: 4096,
    tied: true,
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "starcoder2", &DEFAULTS)?;
    form.norm = Norm::layer(form.norm.epsilon);
    form.names = Names { up: "mlp.c_fc", down: "mlp.c_proj", ..form.names };
    form.mlp = Mlp::Plain;
    let bias = config.flag_or("use_bias", true)?;
    (form.input_bias, form.output_bias, form.mlp_bias) = (bias, bias, bias);
    form.slide_everywhere(config, None)?;
    Ok(form.build())
}
