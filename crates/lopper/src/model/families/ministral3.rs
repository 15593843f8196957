//! Ministral 3 (Mistral AI 2025): Llama whose queries grow with their position where a sequence is longer than those trained on.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::rotary::RotaryScaling;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults =
    Defaults { epsilon: ("rms_norm_eps", 1e-5), max_positions: 262_144, head_dim: Some(128), ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "ministral3", &DEFAULTS)?;
    // the factor of a query is 1 up to there, and sequences that are longer are refused
    match form.rotary[0].scaling {
        RotaryScaling::Yarn { original_positions, .. } => {
            form.max_positions = form.max_positions.min(original_positions);
        }
        _ => return Err(config.wrong("Ministral 3 needs \"rope_parameters\" of the type \"yarn\"")),
    }
    form.slide_everywhere(config, None)?;
    Ok(form.build())
}
