//! config.json of the same model with fewer blocks.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::block_spec::BlockSpec;
use super::edit::{edits, text};
use super::families::{BY_BLOCK, describe};
use super::program::Operation;
use crate::error::{Error, Result};

/// Keys that say how many blocks there are.
const DEPTHS: [&str; 3] = ["num_hidden_layers", "n_layer", "num_layers"];
/// Lists with an entry for each block.
const KINDS: &str = "layer_types";
const TURNED: &str = "no_rope_layers";
const LAYERS: &str = "mlp_layer_types";
const BLOCKS: &str = "layers_block_type";
const SPARSE: &str = "is_moe_layer";
/// Lists with the numbers of blocks that attend.
const NUMBERED: [&str; 2] = ["attn_layer_indices", "full_attn_idxs"];
/// A text with a letter for each block.
const LETTERS: &str = "hybrid_override_pattern";
/// Which blocks have a feed-forward layer instead of experts: a list, every so many, how many at the beginning.
const WITHOUT_EXPERTS: &str = "mlp_only_layers";
const STEP: &str = "decoder_sparse_step";
const FIRST: [&str; 2] = ["first_k_dense_replace", "num_dense_layers"];
/// Keys of the family that counts: one block in so many attends, or has experts, the first of them at an offset.
const COUNTING: &str = "jamba";
const PERIODS: [[&str; 2]; 2] =
    [["attn_layer_period", "attn_layer_offset"], ["expert_layer_period", "expert_layer_offset"]];

/// A config.json of the model without the blocks of these numbers. Where the kind of a block follows from its place, it says the kind
/// of each instead, as `layer_types`, `no_rope_layers` and `mlp_only_layers`.
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
    let (family, all) = (whole.family, whole.blocks.len());
    let has_experts = whole.blocks.iter().any(has_experts);
    let stay = whole.without(gone).blocks;
    for mut edited in edits(config, &DEPTHS, stay.len()).flat_map(|edited| by_experts(edited, has_experts, &stay)) {
        renumber(text(&mut edited), gone);
        if family == COUNTING {
            count(text(&mut edited), &stay);
        }
        for key in [KINDS, TURNED, LAYERS, BLOCKS, SPARSE] {
            let list = text(&mut edited).get_mut(key).and_then(Value::as_array_mut);
            if let Some(list) = list.filter(|list| list.len() == all) {
                let mut numbers = 0..all;
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

/// Blocks that are named by their numbers, or by a letter each, as they are without those that are `gone`.
fn renumber(config: &mut Value, gone: &[usize]) {
    for key in NUMBERED {
        let Some(list) = config.get_mut(key).and_then(Value::as_array_mut) else { continue };
        let stay = list.iter().filter_map(Value::as_u64).map(|number| number as usize);
        let renumbered = stay.filter(|number| !gone.contains(number));
        *list = renumbered.map(|number| json!(number - gone.iter().filter(|&&gone| gone < number).count())).collect();
    }
    if let Some(own) = config.get_mut(BY_BLOCK).and_then(Value::as_object_mut) {
        let before = |number: usize| gone.iter().filter(|&&gone| gone < number).count();
        let numbered = own.iter().filter_map(|(number, own)| Some((number.parse::<usize>().ok()?, own.clone())));
        let stay = numbered.filter(|(number, _)| !gone.contains(number));
        *own = stay.map(|(number, own)| ((number - before(number)).to_string(), own)).collect();
    }
    if let Some(Value::String(letters)) = config.get_mut(LETTERS) {
        let stay = letters.chars().enumerate().filter(|(block, _)| !gone.contains(block));
        *letters = stay.map(|(_, letter)| letter).collect();
    }
}

/// How often blocks attend, and have experts, where every so many do; as it is where they do not.
fn count(config: &mut Value, blocks: &[Arc<BlockSpec>]) {
    let attends = |block: &Arc<BlockSpec>| block.layouts().next().is_some();
    for ([period, offset], is_one) in PERIODS.into_iter().zip([attends, has_experts]) {
        let ones: Vec<bool> = blocks.iter().map(is_one).collect();
        let fits =
            |every: usize, from: usize| ones.iter().enumerate().all(|(block, one)| *one == (block % every == from));
        let found = (1..=ones.len() + 1).find_map(|every| Some((every, (0..every).find(|&from| fits(every, from))?)));
        if let Some((every, from)) = found {
            (config[period], config[offset]) = (json!(every), json!(from));
        }
    }
}

/// The same, and where the model `had` experts also with the blocks that have none named one by one, or counted.
fn by_experts(mut edited: Value, had: bool, blocks: &[Arc<BlockSpec>]) -> Vec<Value> {
    if !had {
        return vec![edited];
    }
    let without: Vec<usize> = (0..blocks.len()).filter(|&block| !has_experts(&blocks[block])).collect();
    let [mut named, mut counted] = [edited.clone(), edited.clone()];
    text(&mut named)[WITHOUT_EXPERTS] = json!(without);
    if let Some(step) = text(&mut named).get_mut(STEP) {
        *step = json!(1);
    }
    let first = blocks.iter().take_while(|block| !has_experts(block)).count();
    let key = FIRST.into_iter().find(|key| text(&mut counted).get(key).is_some()).unwrap_or(FIRST[0]);
    text(&mut counted)[key] = json!(first);
    // numbers that were named are others now
    let names = text(&mut edited).get(WITHOUT_EXPERTS).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if names { vec![named, edited, counted] } else { vec![edited, named, counted] }
}

fn has_experts(block: &Arc<BlockSpec>) -> bool {
    block.linears.iter().any(|linear| linear.of_expert)
}

/// What `layer_types` calls a block.
fn kind(block: &BlockSpec) -> Value {
    let slides =
        |operation: &Operation| matches!(operation, Operation::Attention { layout, .. } if layout.window.is_some());
    if block.operations().any(slides) {
        json!("sliding_attention")
    } else if block.operations().any(|operation| matches!(operation, Operation::DeltaScan { .. })) {
        json!("linear_attention")
    } else {
        json!("full_attention")
    }
}

/// What `no_rope_layers` says of a block, against its name: 1 where queries and keys are turned.
fn turns(block: &BlockSpec) -> Value {
    json!(usize::from(block.operations().any(|operation| matches!(operation, Operation::Rotary { .. }))))
}
