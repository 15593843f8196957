//! EXAONE 4 (LG AI Research 2025, arXiv 2507.11407): norms of what a branch gives and of each head; where some blocks slide, the others
//! have no positions.

use super::config::Config;
use super::llama_block::{Norms, QueryNorms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "exaone4", &Defaults { epsilon: ("rms_norm_eps", 1e-5), ..LLAMA })?;
    form.norms = Norms::AFTER;
    form.query_norms = Some(QueryNorms::HEADS);
    // the pattern may be text, which only `layer_types` spells out
    let pattern = if config.get("layer_types").is_some() { 4 } else { config.size_or("sliding_window_pattern", 4)? };
    form.read_windows(config, Some(4096), |block| (block + 1) % pattern != 0)?;
    if config.window(Some(4096))?.is_some() {
        form.blocks.iter_mut().for_each(|attention| attention.rotary = attention.window.and(Some(0)));
    }
    Ok(form.build())
}
