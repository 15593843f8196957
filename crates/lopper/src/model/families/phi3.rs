//! Phi-3 and 4 (Abdin et al. 2024, arXiv 2404.14219 and 2412.08905): Llama with fused matrices, and a divisor for each rotary frequency.

use super::config::Config;
use super::llama_block::Mlp;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::rotary::RotaryScaling;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1e-5),
    max_positions: 4096,
    rotated: Some(1.0),
    original: Some(4096),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "phi3", &DEFAULTS)?;
    if !matches!(form.rotary[0].scaling, RotaryScaling::Default | RotaryScaling::LongRope { .. }) {
        return Err(config.wrong("Phi-3 knows no rotary scaling but \"longrope\""));
    }
    form.fused_inputs = true;
    form.mlp = Mlp::Fused;
    form.slide_everywhere(config, None)?;
    Ok(form.build())
}
