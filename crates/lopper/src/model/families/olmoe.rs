//! OLMoE (Muennighoff et al. 2024, arXiv 2409.02060): Llama with norms of queries and of keys, and experts.

use super::config::Config;
use super::experts::Experts;
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let defaults = Defaults { max_positions: 4096, epsilon: ("rms_norm_eps", 1e-5), ..LLAMA };
    let mut form = LlamaForm::read(config, "olmoe", &defaults)?;
    form.query_norms = Some(QueryNorms { by_head: false, ..QueryNorms::HEADS });
    form.read_attention_bias(config)?;
    form.clamp = config.cap("clip_qkv", None)?;
    form.take_experts(config, Experts::shares(config, [64, 8], form.intermediate)?)?;
    Ok(form.build())
}
