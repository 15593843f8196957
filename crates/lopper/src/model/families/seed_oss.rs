//! Seed-OSS (ByteDance 2025): Llama with biases of queries, keys and values, and heads of their own width.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form =
        LlamaForm::read(config, "seed_oss", &Defaults { max_positions: 524_288, head_dim: Some(128), ..LLAMA })?;
    form.input_bias = config.flag_or("attention_bias", true)?;
    form.output_bias = config.flag_or("attention_out_bias", false)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    Ok(form.build())
}
