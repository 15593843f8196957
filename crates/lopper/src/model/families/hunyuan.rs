//! Hunyuan (Tencent 2025): Llama that norms queries and keys after they are turned; with a feed-forward layer, or with experts and one for
//! every token.

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices, Shared};
use super::llama_block::QueryNorms;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::rotary::RotaryScaling;
use crate::model::spec::DecoderSpec;

pub fn dense(config: &Config) -> Result<DecoderSpec> {
    Ok(read(config, "hunyuan_v1_dense")?.build())
}

pub fn experts(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "hunyuan_v1_moe")?;
    let mut experts = Experts::shares(config, [1, config.same_of_all("moe_topk", 1)?], form.intermediate)?;
    experts.names = ExpertNames { router: "mlp.gate.wg", ..experts.names };
    experts.routing.normalised = true;
    let width = form.intermediate;
    experts.shared = Some(Shared { name: "mlp.shared_mlp", matrices: Matrices::PLAIN, width, gate: None });
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn read(config: &Config, family: &'static str) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, family, &Defaults { epsilon: ("rms_norm_eps", 1e-5), ..LLAMA })?;
    let (query, key) = ("self_attn.query_layernorm", "self_attn.key_layernorm");
    form.query_norms = Some(QueryNorms { query, key, after_rotary: true, ..QueryNorms::HEADS });
    form.read_attention_bias(config)?;
    // "dynamic" with an alpha is a larger base for sequences of any length
    let rotary = &mut form.rotary[0];
    if let (RotaryScaling::Dynamic { .. }, Some(alpha)) = (&rotary.scaling, config.rotary_alpha()?) {
        rotary.theta *= alpha.powf(rotary.dim as f64 / (rotary.dim as f64 - 2.0));
        rotary.scaling = RotaryScaling::Default;
    }
    Ok(form)
}
