//! Arcee (AFM, 2025): Llama with a feed-forward layer of squared ReLU that is not gated.

use super::config::Config;
use super::llama_block::Mlp;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults =
    Defaults { activation: ("hidden_act", "relu2"), epsilon: ("rms_norm_eps", 1e-5), max_positions: 4096, ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "arcee", &DEFAULTS)?;
    form.mlp = Mlp::Plain;
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
