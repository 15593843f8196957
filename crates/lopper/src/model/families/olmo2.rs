//! OLMo 2 (OLMo Team 2025, arXiv 2501.00656): Llama with norms of queries, of keys and of what each branch gives, instead of norms before
//! the branches.

use super::config::Config;
use super::llama_block::{Norms, QueryNorms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "olmo2", &Defaults { epsilon: ("rms_norm_eps", 1e-5), ..LLAMA })?;
    form.norms = Norms::AFTER;
    form.query_norms = Some(QueryNorms { by_head: false, ..QueryNorms::HEADS });
    form.read_attention_bias(config)?;
    Ok(form.build())
}
