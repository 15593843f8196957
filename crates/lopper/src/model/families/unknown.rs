//! Why a model of an unknown type cannot be read, as far as its config.json shows it, and which family may do instead.

use serde_json::Value;

use super::config::Config;
use super::{FAMILIES, Family};
use crate::error::Error;

/// Keys that only models of another kind have, and what those are.
const SIGNS: &[(&[&str], &str)] = &[
    (
        &["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok"],
        "its feed-forward layers are mixtures of experts, of a form that is not known here",
    ),
    (&["kv_lora_rank"], "keys and values of its attention are compressed (MLA), in a form that is not known here"),
    (
        &["state_size", "ssm_state_size", "mamba_d_state", "conv_L_cache", "linear_num_value_heads", "lru_width"],
        "some of its layers are recurrent or convolve, in a form that is not known here",
    ),
];

/// An error that says what differs.
pub fn refused(config: &Config, model_type: &str) -> Error {
    let why = reason(config).map_or_else(String::new, |why| format!(": {why}"));
    let names = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
    let hint = sibling(config).unwrap_or_else(|| format!("supported: {names}"));
    Error::Model {
        problem: format!("{}: models of type {model_type:?} are not supported{why}", config.path.display()),
        hint: Some(hint),
    }
}

fn reason(config: &Config) -> Option<String> {
    if let Some(text) = config.get("text_config").filter(|text| text.is_object()) {
        let kind = text.get("model_type").and_then(Value::as_str).unwrap_or("none");
        return Some(format!("it reads more than text; its text part is of type {kind:?}"));
    }
    if config.get("is_encoder_decoder").and_then(Value::as_bool) == Some(true) {
        return Some("it is an encoder with a decoder; only decoders can be pruned".into());
    }
    let sign = SIGNS.iter().find(|(keys, _)| keys.iter().any(|key| config.get(key).is_some_and(Value::is_u64)));
    if let Some((_, what)) = sign {
        return Some((*what).into());
    }
    let generates = |name: &str| name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel");
    let architecture = architecture(config).filter(|name| !generates(name))?;
    Some(format!("{architecture} is no decoder of text"))
}

fn architecture<'a>(config: &Config<'a>) -> Option<&'a str> {
    config.get("architectures")?.get(0)?.as_str()
}

/// What to try where the text part, or the class that transformers would use, is that of a family.
fn sibling(config: &Config) -> Option<String> {
    let named = |name: &str| FAMILIES.iter().find(|family| family.name == name);
    let text = config.get("text_config").and_then(|text| text.get("model_type")).and_then(Value::as_str);
    if let Some(Family { name, .. }) = text.and_then(named) {
        return Some(format!("{name} is supported: save the text part as a checkpoint of its own"));
    }
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let class = plain(architecture(config)?.strip_suffix("ForCausalLM")?);
    let Family { name, .. } = FAMILIES.iter().find(|family| plain(family.name) == class)?;
    Some(format!(
        "its class is that of {name}: if its tensors are too, put \"model_type\": {name:?} into a copy of config.json"
    ))
}
