//! The model families: config.json → [`DecoderSpec`]. One short file each; this table is all that names them.

mod arcee;
mod bamba;
mod bloom;
mod cohere;
mod config;
mod config_blocks;
mod deepseek;
mod delta_net;
mod dots1;
mod ernie4_5;
mod exaone4;
mod expert_names;
mod experts;
mod falcon;
mod falcon_h1;
mod gemma;
mod gemma4;
mod glm;
mod glm4_moe;
mod gpt2;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod helium;
mod hunyuan;
mod jamba;
mod latent_attention;
mod lfm2;
mod llama;
mod llama_block;
mod llama_form;
mod mamba;
mod minimax_m2;
mod ministral3;
mod mistral;
mod mixer;
mod mixtral;
mod nemotron;
mod nemotron_h;
mod olmo;
mod olmo2;
mod olmo3;
mod olmoe;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_next;
mod qwen_moe;
mod rotary_config;
mod seed_oss;
mod smollm3;
mod solar_open;
mod stablelm;
mod starcoder2;
mod text_part;
mod unknown;

use std::path::Path;

use serde_json::Value;

use super::form::Form;
use super::spec::DecoderSpec;
use crate::error::Result;
use config::Config;
pub(super) use config_blocks::BY_BLOCK;
pub(super) use experts::COUNTS;

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
    Family { name: "mistral", examples: "Mistral 7B, Mistral Nemo, Zephyr", spec: mistral::first },
    Family { name: "ministral", examples: "Ministral 8B", spec: mistral::ministral },
    Family { name: "ministral3", examples: "Ministral 3 (text only)", spec: ministral3::spec },
    Family { name: "qwen2", examples: "Qwen 1.5, 2 and 2.5 (dense)", spec: qwen2::spec },
    Family { name: "qwen3", examples: "Qwen 3 (dense)", spec: qwen3::spec },
    Family { name: "mixtral", examples: "Mixtral 8x7B and 8x22B", spec: mixtral::spec },
    Family { name: "qwen2_moe", examples: "Qwen 1.5 and 2 with experts", spec: qwen_moe::second },
    Family { name: "qwen3_moe", examples: "Qwen 3 30B-A3B, 235B-A22B, Coder", spec: qwen_moe::third },
    Family { name: "olmoe", examples: "OLMoE 1B-7B", spec: olmoe::spec },
    Family { name: "glm4_moe", examples: "GLM 4.5 and 4.6", spec: glm4_moe::spec },
    Family { name: "glm4_moe_lite", examples: "GLM 4.7 Flash", spec: deepseek::glm },
    Family { name: "deepseek_v2", examples: "DeepSeek-V2 and V2-Lite, Coder V2", spec: deepseek::second },
    Family { name: "deepseek_v3", examples: "Moonlight; DeepSeek-V3 and R1 in bf16", spec: deepseek::third },
    Family { name: "minimax_m2", examples: "MiniMax M2 to M2.5 in bf16", spec: minimax_m2::spec },
    Family { name: "solar_open", examples: "Solar Open 100B", spec: solar_open::spec },
    Family { name: "exaone_moe", examples: "K-EXAONE 236B-A23B", spec: exaone4::experts },
    Family { name: "hunyuan_v1_moe", examples: "Hunyuan A13B", spec: hunyuan::experts },
    Family { name: "dots1", examples: "dots.llm1", spec: dots1::spec },
    Family { name: "gpt_oss", examples: "gpt-oss 20B and 120B (in bf16)", spec: gpt_oss::spec },
    Family { name: "gemma", examples: "Gemma 1, CodeGemma", spec: gemma::first },
    Family { name: "gemma2", examples: "Gemma 2", spec: gemma::second },
    Family { name: "gemma3_text", examples: "Gemma 3 270M and 1B", spec: gemma::third },
    Family { name: "gemma3", examples: "Gemma 3 4B to 27B (their text part)", spec: text_part::gemma3 },
    Family { name: "gemma4_text", examples: "Gemma 4 31B and 26B-A4B (text only)", spec: gemma4::spec },
    Family { name: "gemma4", examples: "Gemma 4 31B and 26B-A4B (their text part)", spec: text_part::gemma4 },
    Family {
        name: "mistral3",
        examples: "Mistral Small 3.1, Ministral 3 (their text part)",
        spec: text_part::mistral3,
    },
    Family { name: "qwen2_vl", examples: "Qwen 2 VL (its text part)", spec: text_part::qwen2_vl },
    Family { name: "qwen2_5_vl", examples: "Qwen 2.5 VL (its text part)", spec: text_part::qwen2_5_vl },
    Family { name: "qwen3_vl", examples: "Qwen 3 VL (dense; its text part)", spec: text_part::qwen3_vl },
    Family {
        name: "qwen3_vl_moe",
        examples: "Qwen 3 VL 30B-A3B and 235B-A22B (their text part)",
        spec: text_part::qwen3_vl_moe,
    },
    Family { name: "phi", examples: "Phi-1, 1.5 and 2", spec: phi::spec },
    Family { name: "phi3", examples: "Phi-3, 3.5 and 4 (dense, text only)", spec: phi3::spec },
    Family { name: "granite", examples: "Granite 3 (dense)", spec: granite::dense },
    Family { name: "granitemoe", examples: "Granite 3 1B-A400M and 3B-A800M", spec: granite::experts },
    Family {
        name: "granitemoeshared",
        examples: "MoE 7B of IBM Research, with a shared expert",
        spec: granite::shared,
    },
    Family { name: "smollm3", examples: "SmolLM3", spec: smollm3::spec },
    Family { name: "seed_oss", examples: "Seed-OSS 36B", spec: seed_oss::spec },
    Family { name: "arcee", examples: "AFM 4.5B", spec: arcee::spec },
    Family { name: "olmo", examples: "OLMo 1 (in the form of transformers)", spec: olmo::spec },
    Family { name: "olmo2", examples: "OLMo 2", spec: olmo2::spec },
    Family { name: "olmo3", examples: "OLMo 3", spec: olmo3::spec },
    Family { name: "cohere", examples: "Command R, Aya 23", spec: cohere::first },
    Family { name: "cohere2", examples: "Command R7B, Command A", spec: cohere::second },
    Family { name: "glm", examples: "GLM-4 9B (in the form of transformers)", spec: glm::first },
    Family { name: "glm4", examples: "GLM-4 0414 9B and 32B", spec: glm::fourth },
    Family { name: "exaone4", examples: "EXAONE 4", spec: exaone4::dense },
    Family { name: "nemotron", examples: "Nemotron-4, Minitron", spec: nemotron::spec },
    Family { name: "stablelm", examples: "StableLM 3B, StableLM 2 1.6B", spec: stablelm::spec },
    Family { name: "starcoder2", examples: "StarCoder2", spec: starcoder2::spec },
    Family { name: "hunyuan_v1_dense", examples: "Hunyuan 0.5B to 7B", spec: hunyuan::dense },
    Family { name: "helium", examples: "Helium 1", spec: helium::spec },
    Family { name: "ernie4_5", examples: "ERNIE 4.5 0.3B", spec: ernie4_5::spec },
    Family { name: "falcon", examples: "Falcon 7B, 40B and 180B, Falcon 2", spec: falcon::spec },
    Family { name: "opt", examples: "OPT 125M to 66B", spec: opt::spec },
    Family { name: "gpt_neox", examples: "GPT-NeoX, Pythia, RedPajama-INCITE", spec: gpt_neox::spec },
    Family { name: "bloom", examples: "BLOOM, BLOOMZ", spec: bloom::spec },
    Family { name: "gpt2", examples: "GPT-2, DistilGPT-2", spec: gpt2::first },
    Family { name: "gpt_bigcode", examples: "StarCoder 1, SantaCoder", spec: gpt2::big_code },
    Family { name: "mamba", examples: "Mamba 130M to 2.8B", spec: mamba::first },
    Family { name: "mamba2", examples: "Mamba 2 130M to 2.7B, Mamba Codestral", spec: mamba::second },
    Family { name: "falcon_mamba", examples: "Falcon Mamba 7B", spec: mamba::falcon },
    Family { name: "granitemoehybrid", examples: "Granite 4", spec: granite::hybrid },
    Family { name: "bamba", examples: "Bamba 9B", spec: bamba::spec },
    Family { name: "falcon_h1", examples: "Falcon H1 0.5B to 34B", spec: falcon_h1::spec },
    Family {
        name: "nemotron_h",
        examples: "Nemotron-H 4B to 56B, Nemotron Nano 2, Nemotron 3 Nano",
        spec: nemotron_h::spec,
    },
    Family { name: "jamba", examples: "Jamba 1.5, Jamba Reasoning 3B", spec: jamba::spec },
    Family { name: "lfm2", examples: "LFM 2 350M to 2.6B", spec: lfm2::dense },
    Family { name: "lfm2_moe", examples: "LFM 2 8B-A1B", spec: lfm2::experts },
    Family { name: "qwen3_next", examples: "Qwen 3 Next 80B-A3B, Coder Next", spec: qwen3_next::next },
    Family { name: "qwen3_5_text", examples: "Qwen 3.5 (dense, text only)", spec: qwen3_next::dense },
    Family { name: "qwen3_5", examples: "Qwen 3.5 0.8B to 27B (their text part)", spec: text_part::qwen3_5 },
    Family { name: "qwen3_5_moe_text", examples: "Qwen 3.5 with experts (text only)", spec: qwen3_next::experts },
    Family {
        name: "qwen3_5_moe",
        examples: "Qwen 3.5 35B-A3B to 397B-A17B (their text part)",
        spec: text_part::qwen3_5_moe,
    },
    Family { name: "gptj", examples: "GPT-J 6B", spec: gptj::spec },
];

/// The decoder that a config.json describes; `path` is where it was read, for messages.
///
/// # Errors
/// If the family is unknown, or a value is missing or contradicts another.
pub fn describe(path: &Path, json: &Value) -> Result<DecoderSpec> {
    describe_stored(path, json, None)
}

/// The same, whose files hold the matrices of all experts of a layer in one tensor if they are `stacked`, where they may.
pub(super) fn describe_stored(path: &Path, json: &Value, stacked: Option<Form>) -> Result<DecoderSpec> {
    let config = Config::new(path, json)?.stored(stacked);
    let model_type = config.text("model_type")?;
    let text = config.get("text_config").and_then(|text| text.get(BY_BLOCK)).filter(|value| !value.is_null());
    if config.get(BY_BLOCK).or(text).is_some() && !gemma4::NAMES.contains(&model_type) {
        let problem = format!("{BY_BLOCK:?} is not known in this family: what it changes would be missed");
        return Err(config.wrong(problem));
    }
    let family = FAMILIES.iter().find(|family| family.name == model_type);
    let family = family.ok_or_else(|| unknown::refused(&config, model_type))?;
    (family.spec)(&config)
}
