//! Granite 3 (IBM 2024): Llama with factors of the embedding, the branches, the scores and the logits.

use super::config::Config;
use super::llama_form::{LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "granite", &LLAMA)?;
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    form.embedding_scale = config.factor("embedding_multiplier")?;
    form.residual_scale = config.factor("residual_multiplier")?;
    form.scale = Some(config.positive_or("attention_multiplier", 1.0)? as f32);
    form.logit_scale = config.factor("logits_scaling")?.map(f32::recip);
    Ok(form.build())
}
