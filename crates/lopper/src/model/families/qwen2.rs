//! Qwen 2 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on query, key and value, and an optional window in late blocks.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    Ok(form(config)?.build())
}

/// The text part of models that see, whose heads are as wide together as hidden states.
pub fn of_images(config: &Config) -> Result<DecoderSpec> {
    let form = form(config)?;
    form.heads_fill_width(config)?;
    Ok(form.build())
}

fn form(config: &Config) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, "qwen2", &Defaults { max_positions: 32_768, ..LLAMA })?;
    form.input_bias = true;
    form.read_late_windows(config)?;
    Ok(form)
}
