//! Mistral (Jiang et al. 2023, arXiv 2310.06825) and Ministral 8B: Llama with a sliding window.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults { max_positions: 131_072, ..LLAMA };

pub fn first(config: &Config) -> Result<DecoderSpec> {
    read(config, "mistral")
}

pub fn ministral(config: &Config) -> Result<DecoderSpec> {
    read(config, "ministral")
}

fn read(config: &Config, family: &'static str) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, family, &DEFAULTS)?;
    form.read_windows(config, Some(4096), |_| true)?;
    Ok(form.build())
}

/// The same where every block slides, whatever `layer_types` says: within a model of more than text.
pub fn sliding(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "mistral", &DEFAULTS)?;
    form.slide_everywhere(config, Some(4096))?;
    Ok(form.build())
}
