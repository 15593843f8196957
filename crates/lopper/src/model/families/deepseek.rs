//! DeepSeek-V2 and V3 (arXiv 2405.04434, 2412.19437) and GLM 4.7 Flash: latent attention and experts.

use super::config::Config;
use super::experts::{Apart, Experts, Matrices, Shared};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use crate::autograd::Groups;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "deepseek_v2", &Defaults { head_dim: Some(64), ..LLAMA })?;
    form.read_attention_bias(config)?;
    if config.flag_or("mlp_bias", false)? {
        return Err(config.wrong("\"mlp_bias\" of a feed-forward layer beside experts is not known here"));
    }
    form.read_latent(config, 1536, true)?;
    let width = config.size_or("moe_intermediate_size", 1407)?;
    let mut experts = Experts::shares(config, [64, config.size("num_experts_per_tok")?], width)?;
    experts.routing.normalised = false;
    experts.routing.factor = config.positive_or("routed_scaling_factor", 1.0)? as f32;
    experts.routing.groups = match config.text_or("topk_method", "greedy")? {
        "greedy" => None,
        "group_limited_greedy" => {
            Some(Groups { count: config.size("n_group")?, kept: config.size("topk_group")?, best: 1 })
        }
        other => {
            let known = "\"greedy\", \"group_limited_greedy\"";
            return Err(config.wrong(format!("\"topk_method\" is {other:?}; supported here: {known}")));
        }
    };
    let width = config.size_or("n_shared_experts", 2)? * width;
    experts.shared = Some(Shared { name: "mlp.shared_experts", matrices: Matrices::PLAIN, width, gate: None });
    experts.begin_after(config, "first_k_dense_replace", 0)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

pub fn third(config: &Config) -> Result<DecoderSpec> {
    let mut form = read(config, "deepseek_v3", &Defaults { max_positions: 4096, head_dim: Some(64), ..LLAMA }, 1536)?;
    let mut experts = Experts::apart(config, &Apart { normalised: true, groups: [8, 4], factor: 2.5 })?;
    experts.begin_after(config, "first_k_dense_replace", 3)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

pub fn glm(config: &Config) -> Result<DecoderSpec> {
    let epsilon = ("rms_norm_eps", 1e-5);
    let defaults = Defaults { max_positions: 202_752, epsilon, head_dim: Some(64), ..LLAMA };
    let mut form = read(config, "glm4_moe_lite", &defaults, 768)?;
    let mut experts = Experts::apart(config, &Apart { normalised: true, groups: [1, 1], factor: 1.8 })?;
    experts.read_kinds(config)?;
    form.take_experts(config, experts)?;
    Ok(form.build())
}

fn read(config: &Config, family: &'static str, defaults: &Defaults, query_rank: usize) -> Result<LlamaForm> {
    let mut form = LlamaForm::read(config, family, defaults)?;
    form.read_attention_bias(config)?;
    form.read_latent(config, query_rank, config.flag_or_null("rope_interleave", true)?)?;
    Ok(form)
}
