//! config.json of the same model with fewer neurons or heads.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::families::describe;
use super::rotary::RotarySpec;
use super::spec::DecoderSpec;
use super::units::UnitKind;
use crate::autograd::AttentionLayout;
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
/// How many layers predict tokens further ahead.
const AHEAD: [&str; 3] = ["num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers"];
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
            let as_said = |mut edited: Value| {
                text(&mut edited)[ADJUSTED] = json!(false);
                edited
            };
            let said = edits(config, &WIDTHS, keep).find(|edited| shape.is_of(path, edited));
            said.or_else(|| edits(config, &WIDTHS, keep).map(as_said).find(|edited| shape.is_of(path, edited)))
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
    found.map(without_ahead).ok_or_else(|| no_words(&whole, kind))
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
            for (tensor, entries) in &units.tensors {
                block.tensors[*tensor].shape[0] = entries.len() / units.count * keep;
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

/// The part of a config.json that describes a model of text.
pub(super) fn text(config: &mut Value) -> &mut Value {
    if config.get(TEXT).is_some_and(Value::is_object) { &mut config[TEXT] } else { config }
}

/// The same without layers that predict tokens further ahead.
pub(super) fn without_ahead(mut config: Value) -> Value {
    for key in AHEAD {
        if let Some(count) = text(&mut config).get_mut(key) {
            *count = json!(0);
        }
    }
    config
}

/// The same with one of the `keys` set to a number, where the text is described, or above.
pub(super) fn edits(config: &Value, keys: &[&str], number: usize) -> impl Iterator<Item = Value> {
    keys.iter().flat_map(move |key| {
        let [mut within, mut above] = [config.clone(), config.clone()];
        text(&mut within)[key] = json!(number);
        above[key] = json!(number);
        [within, above]
    })
}
