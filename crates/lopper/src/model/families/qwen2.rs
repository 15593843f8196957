//! Qwen 2 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on query, key and value, and an optional window in late blocks.

use super::config::Config;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut spec = config.decoder("qwen2")?;
    spec.attention.input_bias = true;
    if config.flag_or("use_sliding_window", false)? {
        let window = config.size_or("sliding_window", 4096)?;
        let first = config.size_or("max_window_layers", 28)?;
        for (block, slot) in spec.attention.windows.iter_mut().enumerate() {
            let slides = config.layer_type(block)?.map_or(block >= first, |kind| kind == "sliding_attention");
            *slot = slides.then_some(window);
        }
    }
    Ok(spec)
}
