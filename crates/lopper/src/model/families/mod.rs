//! The model families: config.json → [`DecoderSpec`], and tensor names. One file each; this table is all that names them.

mod config;
mod llama;
mod mistral;
mod qwen2;

use std::path::Path;

use serde_json::Value;

use super::linear::{LinearId, LinearRole, Part};
use super::spec::DecoderSpec;
use crate::error::{Error, Result};
use config::Config;

/// A family of checkpoints.
pub struct Family {
    /// Its name, also the `model_type` of its config.json.
    pub name: &'static str,
    /// For people: models that belong to it.
    pub examples: &'static str,
    spec: fn(&Config) -> Result<DecoderSpec>,
}

/// Every family this program knows.
pub const FAMILIES: &[Family] = &[
    Family { name: "llama", examples: "Llama 1–3.x, TinyLlama, SmolLM 1–2, Yi, Vicuna", spec: llama::spec },
    Family { name: "mistral", examples: "Mistral 7B, Mistral Nemo, Zephyr", spec: mistral::spec },
    Family { name: "qwen2", examples: "Qwen 1.5, 2 and 2.5 (dense)", spec: qwen2::spec },
];

/// The decoder that a config.json describes; `path` is where it was read, for messages.
///
/// # Errors
/// If the family is unknown, or a value is missing or contradicts another.
pub fn describe(path: &Path, json: &Value) -> Result<DecoderSpec> {
    let config = Config::new(path, json)?;
    let model_type = config.text("model_type")?;
    let family = FAMILIES.iter().find(|family| family.name == model_type).ok_or_else(|| Error::Model {
        problem: format!("{}: models of type {model_type:?} are not supported", path.display()),
        hint: Some(format!("supported: {}", FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", "))),
    })?;
    (family.spec)(&config)
}

/// Names of tensors, the same in every family so far.
pub(super) mod names {
    use super::{LinearId, LinearRole, Part};

    /// The embedding [vocabulary, hidden].
    pub const EMBEDDING: &str = "model.embed_tokens.weight";
    /// The norm before the head.
    pub const FINAL_NORM: &str = "model.norm.weight";
    /// The head [vocabulary, hidden], where it is not the embedding.
    pub const HEAD: &str = "lm_head.weight";

    /// `weight` or `bias` of a linear layer.
    pub fn linear(id: LinearId, kind: &str) -> String {
        let layer = match id.role {
            LinearRole::Query => "self_attn.q_proj",
            LinearRole::Key => "self_attn.k_proj",
            LinearRole::Value => "self_attn.v_proj",
            LinearRole::Output => "self_attn.o_proj",
            LinearRole::Gate => "mlp.gate_proj",
            LinearRole::Up => "mlp.up_proj",
            LinearRole::Down => "mlp.down_proj",
        };
        format!("model.layers.{}.{layer}.{kind}", id.block)
    }

    /// The norm of one half of a block.
    pub fn norm(block: usize, part: Part) -> String {
        let norm = match part {
            Part::Attention => "input_layernorm",
            Part::Mlp => "post_attention_layernorm",
        };
        format!("model.layers.{block}.{norm}.weight")
    }
}
