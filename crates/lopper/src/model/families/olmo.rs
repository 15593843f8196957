//! OLMo (Groeneveld et al. 2024, arXiv 2402.00838): Llama with layer norms that have neither weights nor biases, and an optional bound of
//! queries, keys and values.

use super::config::Config;
use super::llama_form::{LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "olmo", &LLAMA)?;
    form.norm = Norm { weight: false, bias: false, ..Norm::layer(1e-5) };
    form.clamp = config.cap("clip_qkv", None)?;
    form.read_attention_bias(config)?;
    Ok(form.build())
}
