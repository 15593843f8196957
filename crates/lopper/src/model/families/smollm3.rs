//! SmolLM3 (Hugging Face 2025): Llama where every fourth block has no rotary positions (Yang et al. 2025, arXiv 2501.18795).

use super::config::Config;
use super::llama_form::LlamaForm;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "smollm3")?;
    form.tie_by_default(config)?;
    let (whole, base) = (("partial_rotary_factor", 1.0), ("rope_theta", 2e6));
    form.rotary = vec![config.rotary(form.head_dim, form.max_positions, whole, base)?];
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.output_bias = form.input_bias;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    let interval = config.size_or("no_rope_layer_interval", 4)?;
    let slides = config.flag_or("use_sliding_window", false)?;
    let window = config.window(None)?.filter(|_| slides);
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let turns = config.flag_of_block("no_rope_layers", block)?.unwrap_or((block + 1) % interval != 0);
        let slides = config.layer_type(block)?.map_or(!turns, |kind| kind == "sliding_attention");
        attention.rotary = turns.then_some(0);
        attention.window = window.filter(|_| slides);
    }
    Ok(form.build())
}
