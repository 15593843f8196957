//! Phi-1, 1.5 and 2 (Gunasekar et al. 2023, arXiv 2306.11644; Li et al. 2023, arXiv 2309.05463): attention and feed-forward layer read
//! one layer norm, side by side; part of each head is rotated; everything has a bias.

use super::config::Config;
use super::llama_block::{Mlp, Names, Norms, QueryNorms};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults =
    Defaults { activation: ("hidden_act", "gelu_new"), epsilon: ("layer_norm_eps", 1e-5), rotated: Some(0.5), ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "phi", &DEFAULTS)?;
    form.norm = Norm::layer(form.norm.epsilon);
    form.norms = Norms { last: "model.final_layernorm", ..Norms::SHARED };
    form.parallel = true;
    form.names = Names { output: "self_attn.dense", up: "mlp.fc1", down: "mlp.fc2", ..form.names };
    form.mlp = Mlp::Plain;
    (form.input_bias, form.output_bias, form.mlp_bias, form.head_bias) = (true, true, true, true);
    if config.flag_or("qk_layernorm", false)? {
        let (query, key) = ("self_attn.q_layernorm", "self_attn.k_layernorm");
        form.query_norms = Some(QueryNorms { query, key, ..QueryNorms::HEADS });
    }
    Ok(form.build())
}
