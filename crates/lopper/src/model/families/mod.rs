//! The model families: config.json → [`DecoderSpec`]. One short file each; this table is all that names them.

mod arcee;
mod bloom;
mod config;
mod gemma;
mod gpt2;
mod gpt_neox;
mod gptj;
mod granite;
mod llama;
mod llama_form;
mod mistral;
mod olmo;
mod olmo2;
mod opt;
mod qwen2;
mod qwen3;
mod rotary_config;
mod seed_oss;
mod smollm3;

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
    Family { name: "gemma", examples: "Gemma 1, CodeGemma", spec: gemma::first },
    Family { name: "gemma2", examples: "Gemma 2", spec: gemma::second },
    Family { name: "gemma3_text", examples: "Gemma 3 270M and 1B", spec: gemma::third },
    Family { name: "granite", examples: "Granite 3 (dense)", spec: granite::spec },
    Family { name: "smollm3", examples: "SmolLM3", spec: smollm3::spec },
    Family { name: "seed_oss", examples: "Seed-OSS 36B", spec: seed_oss::spec },
    Family { name: "arcee", examples: "AFM 4.5B", spec: arcee::spec },
    Family { name: "olmo", examples: "OLMo 1 (in the form of transformers)", spec: olmo::spec },
    Family { name: "olmo2", examples: "OLMo 2", spec: olmo2::spec },
    Family { name: "opt", examples: "OPT 125M to 66B", spec: opt::spec },
    Family { name: "gpt_neox", examples: "GPT-NeoX, Pythia, RedPajama-INCITE", spec: gpt_neox::spec },
    Family { name: "bloom", examples: "BLOOM, BLOOMZ", spec: bloom::spec },
    Family { name: "gpt2", examples: "GPT-2, DistilGPT-2", spec: gpt2::spec },
    Family { name: "gptj", examples: "GPT-J 6B", spec: gptj::spec },
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
