//! StableLM (Bellagente et al. 2024, arXiv 2402.17834): Llama with layer norms and a quarter of each head rotated; some of its models have
//! attention and feed-forward layer side by side.

use super::config::Config;
use super::llama_block::Norms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults =
    Defaults { epsilon: ("layer_norm_eps", 1e-5), max_positions: 4096, rotated: Some(0.25), ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "stablelm", &DEFAULTS)?;
    form.heads_fill_width(config)?;
    if config.flag_or("qk_layernorm", false)? {
        return Err(
            config.wrong("\"qk_layernorm\" of StableLM 2 12B, a norm of its own for every head, is not supported")
        );
    }
    form.norm = Norm::layer(form.norm.epsilon);
    form.input_bias = config.flag_or("use_qkv_bias", false)?;
    if config.flag_or("use_parallel_residual", false)? {
        form.parallel = true;
        form.norms = Norms::SHARED;
    }
    Ok(form.build())
}
