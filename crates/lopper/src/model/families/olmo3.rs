//! OLMo 3 (Ai2 2025): OLMo 2 where three of four blocks slide, with rotary positions of their own.

use super::config::Config;
use super::llama_block::{Norms, QueryNorms};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const BASE: f64 = 500_000.0;
const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1e-5),
    // no key is the base of sliding attention: transformers gives `rope_theta` to full attention alone
    base: Base::ByKind([("rope_theta", BASE), ("", BASE)]),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "olmo3", &DEFAULTS)?;
    form.norms = Norms::AFTER;
    form.query_norms = Some(QueryNorms { by_head: false, ..QueryNorms::HEADS });
    form.read_windows(config, Some(4096), |block| (block + 1) % 4 != 0)?;
    form.read_attention_bias(config)?;
    Ok(form.build())
}
