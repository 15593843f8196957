//! Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama with a sliding window.

use super::config::Config;
use super::llama_form::LlamaForm;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "mistral")?;
    // transformers takes 4096 where the key is missing, and no window where it is null
    let default = if config.has("sliding_window") { usize::MAX } else { 4096 };
    let window = Some(config.size_or("sliding_window", default)?).filter(|&window| window != usize::MAX);
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let slides = config.layer_type(block)?.is_none_or(|kind| kind == "sliding_attention");
        attention.window = window.filter(|_| slides);
    }
    Ok(form.build())
}
