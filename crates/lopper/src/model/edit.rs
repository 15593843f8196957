//! config.json of the same model with fewer neurons, or fewer blocks.

use std::path::Path;

use serde_json::{Value, json};

use super::block_spec::BlockSpec;
use super::families::describe;
use super::program::Operation;
use super::spec::DecoderSpec;
use crate::error::{Error, Result};

/// What the keys are called that say how many neurons a feed-forward layer has.
const WIDTHS: [&str; 4] = ["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"];
/// And those that say how many blocks there are.
const DEPTHS: [&str; 3] = ["num_hidden_layers", "n_layer", "num_layers"];
/// Lists with an entry for each block.
const KINDS: &str = "layer_types";
const TURNED: &str = "no_rope_layers";
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
    let is_so = |spec: DecoderSpec| spec.neurons().is_ok_and(|all| all.iter().all(|one| one.1.count == width));
    let found = edits(config, &WIDTHS, width).find(|edited| describe(path, edited).is_ok_and(is_so));
    if let Some(edited) = found {
        return Ok(edited);
    }
    let family = spec.family;
    Err(Error::Plan {
        problem: format!(
            "no key in the config.json of a {family} says how wide its feed-forward layers are: another width could not be loaded"
        ),
        hint: Some("prune weights instead: --sparsity, --pattern".into()),
    })
}

/// A config.json of the model without the blocks of these numbers. Where the kind of a block follows from its place, it says the kind
/// of each instead, as `layer_types` and `no_rope_layers`.
///
/// # Errors
/// If it describes no model of this program, or no config.json describes what stays.
///
/// ```
/// use lopper::model::{describe, shortened};
///
/// let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 4,
///     "num_attention_heads": 2, "intermediate_size": 32});
/// let shorter = shortened("config.json".as_ref(), &config, &[1, 2])?;
/// assert_eq!(shorter["num_hidden_layers"], 2);
/// # Ok::<(), lopper::Error>(())
/// ```
pub fn shortened(path: &Path, config: &Value, gone: &[usize]) -> Result<Value> {
    let whole = describe(path, config)?;
    let (family, count) = (whole.family, whole.blocks.len());
    let stay = whole.without(gone).blocks;
    for mut edited in edits(config, &DEPTHS, stay.len()) {
        for key in [KINDS, TURNED] {
            let list = text(&mut edited).get_mut(key).and_then(Value::as_array_mut);
            if let Some(list) = list.filter(|list| list.len() == count) {
                let mut numbers = 0..count;
                list.retain(|_| numbers.next().is_some_and(|number| !gone.contains(&number)));
            }
        }
        for keys in [&[][..], &[KINDS], &[TURNED], &[KINDS, TURNED]] {
            let mut spelt = edited.clone();
            for &key in keys {
                let of = if key == KINDS { kind } else { turns };
                text(&mut spelt)[key] = stay.iter().map(|block| of(block)).collect();
            }
            if describe(path, &spelt).is_ok_and(|spec| spec.blocks == stay) {
                return Ok(spelt);
            }
        }
    }
    Err(Error::Plan {
        problem: format!(
            "without the blocks {gone:?} no config.json of a {family} describes the others: what a block does follows from its place"
        ),
        hint: Some("take out others, as many as the pattern of the kinds of blocks is long".into()),
    })
}

/// The part of a config.json that describes a model of text.
fn text(config: &mut Value) -> &mut Value {
    if config.get(TEXT).is_some_and(Value::is_object) { &mut config[TEXT] } else { config }
}

/// The same with one of the `keys` set to a number, where the text is described, or above.
fn edits(config: &Value, keys: &[&str], number: usize) -> impl Iterator<Item = Value> {
    keys.iter().flat_map(move |key| {
        let [mut within, mut above] = [config.clone(), config.clone()];
        text(&mut within)[key] = json!(number);
        above[key] = json!(number);
        [within, above]
    })
}

fn operations(block: &BlockSpec) -> impl Iterator<Item = &Operation> {
    let branches = block.stages.iter().flat_map(|stage| &stage.branches);
    branches.flat_map(|branch| branch.program.instructions()).map(|instruction| &instruction.operation)
}

/// What `layer_types` calls a block.
fn kind(block: &BlockSpec) -> Value {
    let slides = |operation: &Operation| matches!(operation, Operation::Attention(layout) if layout.window.is_some());
    if operations(block).any(slides) { json!("sliding_attention") } else { json!("full_attention") }
}

/// What `no_rope_layers` says of a block, against its name: 1 where queries and keys are turned.
fn turns(block: &BlockSpec) -> Value {
    json!(usize::from(operations(block).any(|operation| matches!(operation, Operation::Rotary { .. }))))
}
