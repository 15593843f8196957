//! MiniMax M2 (2025): Llama with norms of all queries and of all keys, part of each head rotated, and experts that are scored each by itself.

use super::config::Config;
use super::experts::{ExpertNames, Experts, Matrices};
use super::llama_block::QueryNorms;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::autograd::Scoring;
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const NAMES: ExpertNames = ExpertNames {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts",
    matrices: Matrices::Apart { gate: "w1", up: "w3", down: "w2" },
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let head_dim = 128;
    let mut defaults = Defaults {
        max_positions: 196_608,
        head_dim: Some(head_dim),
        rotated: Some(1.0),
        base: Base::One(5_000_000.0),
        ..LLAMA
    };
    // the published files say how many entries of a head are rotated
    if config.get("rotary_dim").is_some() {
        let head_dim = config.size_or("head_dim", head_dim)?;
        defaults.rotated = Some(config.size("rotary_dim")? as f64 / head_dim as f64);
    }
    let mut form = LlamaForm::read(config, "minimax_m2", &defaults)?;
    form.query_norms = Some(QueryNorms { by_head: false, ..QueryNorms::HEADS });
    let mut experts = Experts::shares(config, [256, 8], form.intermediate)?;
    experts.names = NAMES;
    experts.correction = Some("block_sparse_moe.e_score_correction_bias");
    (experts.routing.scoring, experts.routing.normalised) = (Scoring::Sigmoid, true);
    form.take_experts(config, experts)?;
    Ok(form.build())
}
