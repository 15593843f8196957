//! Bamba (IBM, Princeton, CMU and UIUC 2024): Mamba 2, in some blocks attention, and everywhere a feed-forward layer.

use super::config::Config;
use super::llama_block::{Names, Norms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use super::mixer::{ByHead, HYBRID, Mixer, Mixers, expanded};
use super::rotary_config::RotaryDefaults;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

/// Names of the feed-forward layer and of the norms, as other hybrids have them too.
pub const NAMES: Names = Names {
    gate: "feed_forward.gate_proj",
    up: "feed_forward.up_proj",
    down: "feed_forward.down_proj",
    ..Names::PLAIN
};
pub const NORMS: Norms = Norms { before_mlp: Some("pre_ff_layernorm"), last: "model.final_layernorm", ..Norms::BEFORE };

const DEFAULTS: Defaults =
    Defaults { epsilon: ("rms_norm_eps", 1e-5), max_positions: 262_144, rotated: Some(0.5), ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "bamba", &DEFAULTS)?;
    // a share of each head that stands beside the other keys counts for nothing
    let defaults = RotaryDefaults { share: Some(("", 0.5)), base: ("rope_theta", 10_000.0), original: None };
    form.rotary = vec![config.rotary((form.blocks[0].head_dim, form.max_positions), &defaults)?];
    (form.names, form.norms) = (NAMES, NORMS);
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    let width = expanded(config, "mamba_expand", form.hidden)?;
    let mixer = ByHead::read(config, "mamba", &HYBRID, width, form.norm)?;
    let attention = config.blocks_named("attn_layer_indices")?.unwrap_or_else(|| vec![false; form.blocks.len()]);
    let blocks = attention.into_iter().map(|attends| !attends).collect();
    form.mixers = Some(Mixers { mixer: Mixer::ByHead(mixer), blocks, beside: false });
    Ok(form.build())
}
