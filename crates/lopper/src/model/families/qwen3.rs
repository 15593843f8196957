//! Qwen 3 (Yang et al. 2025, arXiv 2505.09388): Llama with a norm of every query and key head, and an optional window in late blocks.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm, QueryNorms};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    // transformers does not share the width out among the heads here
    let mut form = LlamaForm::read(config, "qwen3", &Defaults { head_dim: Some(128), ..LLAMA })?;
    form.query_norms = Some(QueryNorms::HEADS);
    form.read_attention_bias(config)?;
    form.read_late_windows(config)?;
    Ok(form.build())
}
