//! gpt-oss (OpenAI 2025, arXiv 2508.10925): Llama with a sink in every head of attention, a sliding window in every other block, biases, and
//! experts whose gates are clamped.

use lopper_kernels::ClampedGate;
use serde_json::json;

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults {
    epsilon: ("rms_norm_eps", 1e-5),
    max_positions: 131_072,
    head_dim: Some(64),
    base: Base::One(150_000.0),
    ..LLAMA
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    // positions are scaled where nothing is said of them
    if config.rotary_parameters().is_some() {
        return read(config);
    }
    let mut said = config.json.clone();
    said["rope_parameters"] =
        json!({"rope_type": "yarn", "factor": 32.0, "truncate": false, "original_max_position_embeddings": 4096});
    read(&Config::new(&config.path, &said)?)
}

fn read(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "gpt_oss", &DEFAULTS)?;
    form.input_bias = config.flag_or("attention_bias", true)?;
    form.output_bias = form.input_bias;
    form.sinks = Some("self_attn.sinks");
    form.read_windows(config, Some(128), |block| block.is_multiple_of(2))?;
    let mut experts = Experts::shares(config, [128, 4], form.intermediate)?;
    let gate = ClampedGate {
        alpha: config.positive_or("swiglu_alpha", 1.702)? as f32,
        limit: config.positive_or("swiglu_limit", 7.0)? as f32,
    };
    let matrices = Matrices::Clamped { gate_up: "gate_up_proj", down: "down_proj", gate };
    experts.names = ExpertNames { router: "mlp.router", experts: "mlp.experts", matrices };
    experts.router_bias = true;
    experts.routing.normalised = true;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
