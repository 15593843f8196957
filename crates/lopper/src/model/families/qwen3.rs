//! Qwen 3 (Yang et al. 2025, arXiv 2505.09388): Llama with a norm of every query and key head, and an optional window in late blocks.

use super::config::Config;
use super::llama_form::{LlamaForm, QueryNorms};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    // transformers does not share the width out among the heads here
    let mut form = LlamaForm::with_head_dim(config, "qwen3", config.head_dim(128)?)?;
    form.query_norms = QueryNorms::Heads;
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.output_bias = form.input_bias;
    form.read_late_windows(config)?;
    Ok(form.build())
}
