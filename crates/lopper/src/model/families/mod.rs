//! The model families: config.json → [`DecoderSpec`]. One short file each; this table is all that names them.

mod config;
mod gpt_neox;
mod llama;
mod llama_form;
mod mistral;
mod opt;
mod qwen2;
mod qwen3;

use std::path::Path;

use serde_json::Value;

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
    Family { name: "qwen3", examples: "Qwen 3 (dense)", spec: qwen3::spec },
    Family { name: "opt", examples: "OPT 125M to 66B", spec: opt::spec },
    Family { name: "gpt_neox", examples: "GPT-NeoX, Pythia, RedPajama-INCITE", spec: gpt_neox::spec },
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
