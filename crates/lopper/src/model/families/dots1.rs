//! dots.llm1 (Huo et al. 2025, arXiv 2506.05767): Llama with a norm of every query and key head, late windows, and experts.

use super::config::Config;
use super::experts::{Apart, Experts};
use super::llama_block::QueryNorms;
use super::llama_form::{LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "dots1", &LLAMA)?;
    form.query_norms = Some(QueryNorms::HEADS);
    form.read_attention_bias(config)?;
    let first = config.size_or("max_window_layers", 62)?;
    form.read_windows(config, Some(4096), |block| block >= first)?;
    let mut experts = Experts::apart(config, &Apart { normalised: false, groups: [1, 1], factor: 1.0 })?;
    experts.begin_after(config, "first_k_dense_replace", 0)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
