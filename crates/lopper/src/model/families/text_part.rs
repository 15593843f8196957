//! Text parts of models of more than text, each read as the family that it is. What else the files hold is copied as it is.

use serde_json::{Value, json};

use super::config::Config;
use super::{gemma, gemma4, ministral3, mistral, qwen_moe, qwen2, qwen3, qwen3_next};
use crate::error::Result;
use crate::model::spec::{DecoderSpec, HeadSpec};

/// Where config.json says which rotary positions there are.
const ROTARY: [&str; 2] = ["rope_scaling", "rope_parameters"];

/// Gemma 3 with images. Its published files say only what differs from a size that was not published.
pub fn gemma3(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({
        "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": true,
    });
    let spec = read(config, "gemma3", defaults, gemma::third)?;
    // the class around the text bounds no logits
    Ok(DecoderSpec { head: HeadSpec { soft_cap: None, ..spec.head }, ..spec })
}

/// Gemma 4 with images.
pub fn gemma4(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({
        "vocab_size": 262_144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30,
        "num_attention_heads": 8, "num_key_value_heads": 4,
    });
    read(config, "gemma4", defaults, gemma4::spec)
}

/// Mistral Small 3.1 and later, and Ministral 3 as it is published.
pub fn mistral3(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({ "model_type": "mistral", "tie_word_embeddings": true });
    read(config, "mistral3", defaults, |text| match text.text("model_type")? {
        "mistral" => mistral::sliding(text),
        "ministral3" => ministral3::spec(text),
        other => {
            Err(text.wrong(format!("\"text_config\" is of the type {other:?}; known: \"mistral\", \"ministral3\"")))
        }
    })
}

/// Qwen 2 with images.
pub fn qwen2_vl(config: &Config) -> Result<DecoderSpec> {
    read(config, "qwen2_vl", qwen2_defaults(), qwen2::of_images)
}

/// Qwen 2.5 with images.
pub fn qwen2_5_vl(config: &Config) -> Result<DecoderSpec> {
    read(config, "qwen2_5_vl", qwen2_defaults(), qwen2::of_images)
}

/// Qwen 3 with images.
pub fn qwen3_vl(config: &Config) -> Result<DecoderSpec> {
    read(config, "qwen3_vl", json!({ "rope_theta": 5e5, "max_position_embeddings": 128_000 }), qwen3::without_windows)
}

/// Qwen 3 with images and experts.
pub fn qwen3_vl_moe(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({ "rope_theta": 5e5, "max_position_embeddings": 128_000 });
    read(config, "qwen3_vl_moe", defaults, qwen_moe::of_images)
}

/// Qwen 3.5 with images.
pub fn qwen3_5(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({
        "vocab_size": 248_320, "hidden_size": 4096, "intermediate_size": 12_288, "num_hidden_layers": 32,
        "num_attention_heads": 16, "num_key_value_heads": 4,
    });
    read(config, "qwen3_5", defaults, qwen3_next::dense)
}

/// Qwen 3.5 with images and experts.
pub fn qwen3_5_moe(config: &Config) -> Result<DecoderSpec> {
    let defaults = json!({
        "vocab_size": 248_320, "hidden_size": 2048, "moe_intermediate_size": 512, "num_hidden_layers": 40,
        "num_attention_heads": 16, "num_key_value_heads": 2,
    });
    read(config, "qwen3_5_moe", defaults, qwen3_next::experts)
}

fn qwen2_defaults() -> Value {
    json!({ "rope_theta": 1e6, "rms_norm_eps": 1e-5, "max_window_layers": 80 })
}

/// What `text_config` says of the text, or the file itself where it has none; `defaults` where it is silent.
fn read(
    config: &Config,
    family: &'static str,
    mut defaults: Value,
    spec: impl Fn(&Config) -> Result<DecoderSpec>,
) -> Result<DecoderSpec> {
    let text = config.object_or_all("text_config")?;
    if let Some(keys) = defaults.as_object_mut() {
        // a `null` may say more than that the key is missing
        let said = text.iter().filter(|(key, value)| !(value.is_null() && keys.contains_key(*key)));
        let said: Vec<_> = said.map(|(key, value)| (key.clone(), value.clone())).collect();
        keys.extend(said);
        // whether the head is the embedding stands beside the text
        keys.extend(config.get("tie_word_embeddings").map(|tied| ("tie_word_embeddings".into(), tied.clone())));
    }
    // a token of text has one position where those of images have three
    for rotary in ROTARY {
        for key in ["type", "rope_type"] {
            if let Some(kind) = defaults.pointer_mut(&format!("/{rotary}/{key}")).filter(|kind| *kind == "mrope") {
                *kind = "default".into();
            }
        }
    }
    let text = Config::new(&config.path, &defaults)?.stored(config.stacked);
    Ok(DecoderSpec { family, ..spec(&text)? })
}
