//! Qwen 3 (Yang et al. 2025, arXiv 2505.09388): Llama with a norm of every query and key head, and an optional window in late blocks.

use super::config::Config;
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

// transformers does not share the width out among the heads here
const DEFAULTS: Defaults = Defaults { max_positions: 32_768, head_dim: Some(128), ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config)?;
    form.read_late_windows(config)?;
    Ok(form.build())
}

/// The same where nothing slides.
pub fn without_windows(config: &Config) -> Result<DecoderSpec> {
    Ok(read(config)?.build())
}

fn read(config: &Config) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, "qwen3", &DEFAULTS)?;
    form.query_norms = Some(QueryNorms::HEADS);
    form.read_attention_bias(config)?;
    Ok(form)
}
