//! Llama (Touvron et al. 2023, arXiv 2302.13971) and the many checkpoints in its form.

use super::config::Config;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = config.decoder("llama")?;
    spec.attention.input_bias = config.flag_or("attention_bias", false)?;
    spec.attention.output_bias = spec.attention.input_bias;
    spec.mlp.bias = config.flag_or("mlp_bias", false)?;
    Ok(spec)
}
