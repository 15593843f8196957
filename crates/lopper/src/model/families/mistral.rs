//! Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama with a sliding window.

use super::config::Config;
use super::llama_form::LlamaForm;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "mistral")?;
    let window = config.window(Some(4096))?;
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let slides = config.layer_type(block)?.is_none_or(|kind| kind == "sliding_attention");
        attention.window = window.filter(|_| slides);
    }
    Ok(form.build())
}
