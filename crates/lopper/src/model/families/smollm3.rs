//! SmolLM3 (Hugging Face 2025): Llama where every fourth block has no rotary positions (Yang et al. 2025, arXiv 2501.18795).

use super::config::Config;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults { max_positions: 32_768, base: Base::One(2e6), tied: true, ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "smollm3", &DEFAULTS)?;
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    let interval = config.size_or("no_rope_layer_interval", 4)?;
    let uses_window = config.flag_or("use_sliding_window", false)?;
    let window = config.window(None)?;
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let turns = config.flag_of_block("no_rope_layers", block)?.unwrap_or((block + 1) % interval != 0);
        let slides = config.slides(block)?.unwrap_or(uses_window && !turns);
        attention.rotary = turns.then_some(0);
        attention.window = window.filter(|_| slides);
    }
    Ok(form.build())
}
