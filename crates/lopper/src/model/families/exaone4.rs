//! EXAONE 4 (LG AI Research 2025, arXiv 2507.11407): norms of what a branch gives and of each head; where some blocks slide, the others
//! have no positions. K-EXAONE (2026) has norms before its branches, and experts.

use super::config::Config;
use super::experts::{Apart, Experts};
use super::llama_block::{Norms, QueryNorms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn dense(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "exaone4")?;
    form.norms = Norms::AFTER;
    Ok(form.build())
}

pub fn experts(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "exaone_moe")?;
    let mut experts = Experts::apart(config, &Apart { normalised: true, groups: [1, 1], factor: 2.5 })?;
    experts.correction = Some("mlp.e_score_correction_bias");
    if config.get("mlp_layer_types").is_some() {
        experts.read_kinds(config)?;
    } else {
        experts.begin_after(config, "first_k_dense_replace", 1)?;
    }
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn read(config: &Config, family: &'static str) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, family, &Defaults { epsilon: ("rms_norm_eps", 1e-5), ..LLAMA })?;
    form.query_norms = Some(QueryNorms::HEADS);
    // the pattern may be text, which only `layer_types` spells out
    let pattern = if config.get("layer_types").is_some() { 4 } else { config.size_or("sliding_window_pattern", 4)? };
    form.read_windows(config, Some(4096), |block| (block + 1) % pattern != 0)?;
    if config.window(Some(4096))?.is_some() {
        form.blocks.iter_mut().for_each(|attention| attention.rotary = attention.window.and(Some(0)));
    }
    Ok(form)
}
