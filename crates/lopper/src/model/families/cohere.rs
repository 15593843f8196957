//! Command R (Cohere 2024) and its successors with sliding windows (2025, arXiv 2504.00698): attention and feed-forward layer read one layer
//! norm without a bias, side by side; neighbouring entries of a head turn together; a factor of the logits. In the second form, three of
//! four blocks slide and the others have no positions.

use super::config::Config;
use super::llama_block::Norms;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

const FIRST: Defaults = Defaults {
    epsilon: ("layer_norm_eps", 1e-5),
    max_positions: 8192,
    base: Base::One(500_000.0),
    tied: true,
    ..LLAMA
};
const SECOND: Defaults = Defaults { base: Base::One(10_000.0), ..FIRST };

pub fn first(config: &Config) -> Result<DecoderSpec> {
    if config.flag_or("use_qk_norm", false)? {
        return Err(config.wrong("\"use_qk_norm\" of Command R+, a weight of its own for every head, is not supported"));
    }
    finish(config, LlamaForm::read(config, "cohere", &FIRST)?)
}

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "cohere2", &SECOND)?;
    let pattern = config.size_or("sliding_window_pattern", 4)?;
    form.read_windows(config, Some(4096), |block| (block + 1) % pattern != 0)?;
    form.blocks.iter_mut().for_each(|attention| attention.rotary = attention.window.and(Some(0)));
    finish(config, form)
}

fn finish(config: &Config, mut form: LlamaForm) -> Result<DecoderSpec> {
    form.norm = Norm { bias: false, ..Norm::layer(form.norm.epsilon) };
    form.norms = Norms::SHARED;
    form.parallel = true;
    form.turn_neighbours();
    form.logit_scale = Some(config.positive_or("logit_scale", 0.0625)? as f32);
    form.read_attention_bias(config)?;
    Ok(form.build())
}
