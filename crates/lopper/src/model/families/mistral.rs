//! Mistral (Jiang et al. 2023, arXiv 2310.06825) and Ministral 8B: Llama with a sliding window.

use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn first(config: &Config) -> Result<DecoderSpec> {
    read(config, "mistral", &LLAMA)
}

pub fn ministral(config: &Config) -> Result<DecoderSpec> {
    read(config, "ministral", &Defaults { max_positions: 131_072, ..LLAMA })
}

fn read(config: &Config, family: &'static str, defaults: &Defaults) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, family, defaults)?;
    form.read_windows(config, Some(4096), |_| true)?;
    Ok(form.build())
}
