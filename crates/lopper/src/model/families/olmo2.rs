//! OLMo 2 (OLMo Team 2025, arXiv 2501.00656): Llama with norms of queries, of keys and of what each branch gives, instead of norms before
//! the branches.

use super::config::Config;
use super::llama_form::{LlamaForm, Norms, QueryNorms};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "olmo2")?;
    form.norm = Norm::rms(config.epsilon("rms_norm_eps", 1e-5)?);
    form.norms = Norms {
        before_attention: None,
        after_attention: Some("post_attention_layernorm"),
        before_mlp: None,
        after_mlp: Some("post_feedforward_layernorm"),
    };
    form.query_norms = QueryNorms::Rows;
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.output_bias = form.input_bias;
    Ok(form.build())
}
