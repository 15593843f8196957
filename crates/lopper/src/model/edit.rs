//! config.json of the same model with fewer neurons or heads, or fewer blocks.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::block_spec::BlockSpec;
use super::families::{COUNTS, describe};
use super::program::Operation;
use super::rotary::RotarySpec;
use super::spec::DecoderSpec;
use super::units::UnitKind;
use crate::autograd::{AttentionLayout, Routing};
use crate::error::{Error, Result};

/// What the keys are called that say how many neurons a feed-forward layer has.
const WIDTHS: [&str; 6] =
    ["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "shared_intermediate_size", "block_ff_dim"];
/// Whether the width that is said is not the one there is.
const ADJUSTED: &str = "block_auto_adjust_ff_dim";
/// Those that say how many heads there are, of queries, and of keys and values; and how wide one is, where that does not follow.
const HEADS: [&str; 2] = ["num_attention_heads", "n_head"];
const KV_HEADS: [&str; 2] = ["num_key_value_heads", "num_kv_heads"];
const HEAD_WIDTH: &str = "head_dim";
/// Families that transformers loads only where the heads of queries divide the hidden size, whatever `head_dim` is.
const DIVIDING: [&str; 5] = ["llama", "arcee", "gemma2", "gemma3", "gemma3_text"];
/// And those that say how many blocks there are.
const DEPTHS: [&str; 3] = ["num_hidden_layers", "n_layer", "num_layers"];
/// Lists with an entry for each block.
const KINDS: &str = "layer_types";
const TURNED: &str = "no_rope_layers";
const LAYERS: &str = "mlp_layer_types";
const BLOCKS: &str = "layers_block_type";
/// Lists with the numbers of blocks that attend.
const NUMBERED: [&str; 2] = ["attn_layer_indices", "full_attn_idxs"];
/// A text with a letter for each block.
const LETTERS: &str = "hybrid_override_pattern";
/// Which blocks have a feed-forward layer instead of experts: a list, every so many, how many at the beginning.
const WITHOUT_EXPERTS: &str = "mlp_only_layers";
const STEP: &str = "decoder_sparse_step";
const FIRST: &str = "first_k_dense_replace";
/// Where models of more than text describe their text.
const TEXT: &str = "text_config";

/// A config.json with `keep` units of a kind in every layer that has such: the keys are those that make it so. `path` is where it was
/// read, for messages.
///
/// # Errors
/// If it describes no model of this program, or one whose units cannot be told apart, or no config.json says how many there are.
///
/// ```
/// use lopper::model::{UnitKind, describe, narrowed};
///
/// let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
///     "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32});
/// let path = "config.json".as_ref();
/// let smaller = narrowed(path, &config, UnitKind::Neuron, 24)?;
/// assert_eq!(smaller["intermediate_size"], 24);
/// let smaller = narrowed(path, &smaller, UnitKind::KvHead, 1)?;
/// assert_eq!((&smaller["num_attention_heads"], &smaller["head_dim"]), (&2.into(), &4.into()));
/// assert_eq!(describe(path, &smaller)?.units(UnitKind::Neuron)?[0].1.count, 24);
/// # Ok::<(), lopper::Error>(())
/// ```
pub fn narrowed(path: &Path, config: &Value, kind: UnitKind, keep: usize) -> Result<Value> {
    let whole = describe(path, config)?;
    check_division(&whole, kind, keep)?;
    let shape = Narrowed::of(&whole, kind, keep)?;
    let found = match kind {
        UnitKind::Neuron => {
            let said = |mut edited: Value| {
                let adjusted = text(&mut edited).get_mut(ADJUSTED);
                adjusted.into_iter().for_each(|adjusted| *adjusted = json!(false));
                edited
            };
            edits(config, &WIDTHS, keep).map(said).find(|edited| shape.is_of(path, edited))
        }
        UnitKind::KvHead => {
            let Some(layout) = layouts(&whole).next() else { return Err(no_words(&whole, kind)) };
            let heads = edits(config, &HEADS, layout.heads / layout.kv_heads * keep).collect::<Vec<_>>();
            let shared = heads.iter().flat_map(|edited| edits(edited, &KV_HEADS, keep)).collect::<Vec<_>>();
            let heads: Vec<Value> = heads.into_iter().chain(shared).collect();
            let wide = heads.iter().flat_map(|edited| edits(edited, &[HEAD_WIDTH], layout.head_dim));
            heads.iter().cloned().chain(wide).find(|edited| shape.is_of(path, edited))
        }
    };
    found.ok_or_else(|| no_words(&whole, kind))
}

/// That transformers loads what is left of the heads.
fn check_division(whole: &DecoderSpec, kind: UnitKind, keep: usize) -> Result<()> {
    let Some(layout) = layouts(whole).next().filter(|_| kind == UnitKind::KvHead && DIVIDING.contains(&whole.family))
    else {
        return Ok(());
    };
    let sharing = layout.heads / layout.kv_heads;
    let divides = |keep: &usize| whole.hidden.is_multiple_of(keep * sharing);
    if divides(&keep) {
        return Ok(());
    }
    let others: Vec<String> = (1..layout.kv_heads).filter(divides).map(|keep| keep.to_string()).collect();
    let hint = match others.as_slice() {
        [] => "no smaller number of them would: --width and --depth take other things out".into(),
        others => format!("of {} key/value heads keep one of these numbers: {}", layout.kv_heads, others.join(", ")),
    };
    Err(Error::Plan {
        problem: format!(
            "{} query heads do not divide the hidden size {}: transformers would not load such a {}",
            keep * sharing,
            whole.hidden,
            whole.family
        ),
        hint: Some(hint),
    })
}

fn no_words(DecoderSpec { family, .. }: &DecoderSpec, kind: UnitKind) -> Error {
    let units = kind.plural();
    Error::Plan {
        problem: format!(
            "no config.json of the family {family} says that there are so many {units}: it could not be loaded"
        ),
        hint: Some("prune weights instead: --sparsity, --pattern".into()),
    }
}

/// What a model with fewer units looks like.
struct Narrowed {
    tensors: Vec<(String, Vec<usize>)>,
    layouts: Vec<AttentionLayout>,
    rotary: Vec<RotarySpec>,
}

impl Narrowed {
    fn of(whole: &DecoderSpec, kind: UnitKind, keep: usize) -> Result<Self> {
        let mut small = whole.clone();
        for (branch, units) in whole.units(kind)? {
            let block = Arc::make_mut(&mut small.blocks[branch.at.block]);
            let kept: Vec<bool> = (0..units.count).map(|unit| unit < keep).collect();
            for (index, linear) in whole.blocks[branch.at.block].linears.iter().enumerate() {
                let [outputs, inputs] = linear.shape;
                if index == units.reader {
                    block.tensors[linear.weight].shape[1] = inputs / units.count * keep;
                }
                let Some(stays) = units.outputs_kept(index, outputs, &kept) else { continue };
                let outputs = stays.into_iter().filter(|&stays| stays).count();
                for tensor in [Some(linear.weight), linear.bias].into_iter().flatten() {
                    block.tensors[tensor].shape[0] = outputs;
                }
            }
        }
        let mut layouts: Vec<AttentionLayout> = layouts(whole).cloned().collect();
        if kind == UnitKind::KvHead {
            for layout in &mut layouts {
                (layout.heads, layout.kv_heads) = (layout.heads / layout.kv_heads * keep, keep);
            }
        }
        Ok(Self { tensors: small.tensors(), layouts, rotary: small.rotary })
    }

    /// Whether this config.json describes it.
    fn is_of(&self, path: &Path, config: &Value) -> bool {
        describe(path, config).is_ok_and(|spec| {
            spec.tensors() == self.tensors && layouts(&spec).eq(&self.layouts) && spec.rotary == self.rotary
        })
    }
}

fn layouts(spec: &DecoderSpec) -> impl Iterator<Item = &AttentionLayout> {
    spec.blocks.iter().flat_map(|block| block.layouts())
}

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
    let (family, count) = (whole.family, whole.blocks.len());
    let has_experts = whole.blocks.iter().any(has_experts);
    let stay = whole.without(gone).blocks;
    for mut edited in edits(config, &DEPTHS, stay.len()).flat_map(|edited| by_experts(edited, has_experts, &stay)) {
        renumber(text(&mut edited), gone);
        for key in [KINDS, TURNED, LAYERS, BLOCKS] {
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

/// Blocks that are named by their numbers, or by a letter each, as they are without those that are `gone`.
fn renumber(config: &mut Value, gone: &[usize]) {
    for key in NUMBERED {
        let Some(list) = config.get_mut(key).and_then(Value::as_array_mut) else { continue };
        let stay = list.iter().filter_map(Value::as_u64).map(|number| number as usize);
        let renumbered = stay.filter(|number| !gone.contains(number));
        *list = renumbered.map(|number| json!(number - gone.iter().filter(|&&gone| gone < number).count())).collect();
    }
    if let Some(Value::String(letters)) = config.get_mut(LETTERS) {
        let stay = letters.chars().enumerate().filter(|(block, _)| !gone.contains(block));
        *letters = stay.map(|(_, letter)| letter).collect();
    }
}

/// A config.json with as many experts in every layer that has such.
///
/// # Errors
/// If it describes no model of this program, or no config.json says that there are so many.
///
/// ```
/// use lopper::model::{describe, with_experts};
///
/// let config = serde_json::json!({"model_type": "mixtral", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
///     "num_attention_heads": 2, "intermediate_size": 32, "num_local_experts": 8, "num_experts_per_tok": 2});
/// let smaller = with_experts("config.json".as_ref(), &config, 6)?;
/// assert_eq!(smaller["num_local_experts"], 6);
/// # Ok::<(), lopper::Error>(())
/// ```
pub fn with_experts(path: &Path, config: &Value, keep: usize) -> Result<Value> {
    let whole = describe(path, config)?;
    let is_of = |edited: &Value| {
        describe(path, edited).is_ok_and(|spec| {
            spec.blocks.iter().zip(&whole.blocks).all(|(block, whole)| {
                block.routing().copied() == whole.routing().map(|&routing| Routing { experts: keep, ..routing })
            })
        })
    };
    let mut said = config.clone();
    for key in COUNTS {
        let within = text(&mut said).get_mut(key).filter(|number| !number.is_null());
        within.into_iter().for_each(|number| *number = json!(keep));
    }
    let found = std::iter::once(said).chain(edits(config, &COUNTS, keep)).find(is_of);
    found.ok_or_else(|| Error::Plan {
        problem: format!("no config.json of the family {} says that there are {keep} experts", whole.family),
        hint: Some("prune weights instead: --sparsity, --pattern".into()),
    })
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
    text(&mut counted)[FIRST] = json!(blocks.iter().take_while(|block| !has_experts(block)).count());
    // numbers that were named are others now
    let names = text(&mut edited).get(WITHOUT_EXPERTS).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if names { vec![named, edited, counted] } else { vec![edited, named, counted] }
}

fn has_experts(block: &Arc<BlockSpec>) -> bool {
    block.linears.iter().any(|linear| linear.of_expert)
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

/// What `layer_types` calls a block.
fn kind(block: &BlockSpec) -> Value {
    let slides = |operation: &Operation| matches!(operation, Operation::Attention(layout) if layout.window.is_some());
    if block.operations().any(slides) { json!("sliding_attention") } else { json!("full_attention") }
}

/// What `no_rope_layers` says of a block, against its name: 1 where queries and keys are turned.
fn turns(block: &BlockSpec) -> Value {
    json!(usize::from(block.operations().any(|operation| matches!(operation, Operation::Rotary { .. }))))
}
