//! config.json of the same model with fewer neurons.

use std::path::Path;

use serde_json::{Value, json};

use super::families::describe;
use crate::error::{Error, Result};

/// What the keys are called that say how many neurons a feed-forward layer has.
const WIDTHS: [&str; 4] = ["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"];
/// Where models of more than text describe their text.
const TEXT: &str = "text_config";

/// A config.json whose feed-forward layers have `width` neurons: the key is the one that makes it so. `path` is where it was read, for
/// messages.
///
/// # Errors
/// If it describes no model of this program, or no key says how wide its feed-forward layers are.
///
/// ```
/// use lopper::model::{describe, narrowed};
///
/// let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
///     "num_attention_heads": 2, "intermediate_size": 32});
/// let smaller = narrowed("config.json".as_ref(), &config, 24)?;
/// assert_eq!(smaller["intermediate_size"], 24);
/// assert_eq!(describe("config.json".as_ref(), &smaller)?.neurons()?[0].1.count, 24);
/// # Ok::<(), lopper::Error>(())
/// ```
pub fn narrowed(path: &Path, config: &Value, width: usize) -> Result<Value> {
    let spec = describe(path, config)?;
    let places: &[Option<&str>] = if config.get(TEXT).is_some() { &[Some(TEXT), None] } else { &[None] };
    for (place, key) in places.iter().flat_map(|place| WIDTHS.map(|key| (place, key))) {
        let mut edited = config.clone();
        let object = if let Some(place) = place { &mut edited[place] } else { &mut edited };
        if !object.is_object() {
            continue;
        }
        object[key] = json!(width);
        let is_so =
            |spec: super::DecoderSpec| spec.neurons().is_ok_and(|all| all.iter().all(|one| one.1.count == width));
        if describe(path, &edited).is_ok_and(is_so) {
            return Ok(edited);
        }
    }
    let family = spec.family;
    Err(Error::Plan {
        problem: format!(
            "no key in the config.json of a {family} says how wide its feed-forward layers are: another width could not be loaded"
        ),
        hint: Some("prune weights instead: --sparsity, --pattern".into()),
    })
}
