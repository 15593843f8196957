//! Llama (Touvron et al. 2023, arXiv 2302.13971) and the many checkpoints in its form.

use super::config::Config;
use super::llama_form::{LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "llama", &LLAMA)?;
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
