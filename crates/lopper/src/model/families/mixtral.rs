//! Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral with experts.

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const NAMES: ExpertNames = ExpertNames {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts",
    matrices: Matrices::Apart { gate: "w1", up: "w3", down: "w2" },
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let defaults =
        Defaults { max_positions: 131_072, epsilon: ("rms_norm_eps", 1e-5), base: Base::One(1_000_000.0), ..LLAMA };
    let mut form = LlamaForm::read(config, "mixtral", &defaults)?;
    form.slide_everywhere(config, None)?;
    let mut experts = Experts::shares(config, [8, 2], form.intermediate)?;
    experts.names = NAMES;
    experts.routing.normalised = true;
    form.take_experts(config, experts)?;
    Ok(form.build())
}
