//! What the files of a model call its tensors; and what they are where they are not those of the model that config.json describes.

use serde_json::Value;

use super::form::Form;
use super::spec::DecoderSpec;
use crate::checkpoint::{Checkpoint, whole_of};
use crate::error::{Error, Result};

/// What stands before the names of a model's body, and before that of its head.
type Prefixes = [String; 2];

/// Names without what stands before all but the head's, as a model saved without a head has them; and those of the text part of a
/// model of more than text.
const KNOWN: [[&str; 2]; 3] = [["", ""], ["language_model.model.", "language_model."], ["model.language_model.", ""]];
/// Ends of the names of tensors that quantised checkpoints have beside their weights, or instead.
const QUANTISED: [&str; 8] =
    [".qweight", ".qzeros", ".scales", ".weight_scale", ".weight_packed", ".SCB", ".absmax", "_blocks"];
/// How to come by weights of gpt-oss that are not packed.
const UNPACKED: &str = "let transformers unpack it: AutoModelForCausalLM.from_pretrained(…, dtype=\"bfloat16\", quantization_config=Mxfp4Config(dequantize=True)).save_pretrained(DIRECTORY)";
/// Parts of the names of tensors of adapters.
const ADAPTED: [&str; 3] = [".lora_A", ".lora_B", ".base_layer."];

/// Ends of the names of the tensors in which some files have matrices of all experts of a layer: gates with what they gate, and the others.
const STACKS: [&str; 2] = [".mlp.experts.gate_up_proj", ".mlp.experts.down_proj"];
/// What stands before the names of layers that predict tokens further ahead, in families that do not count them among the blocks.
const AHEAD: &str = "mtp.";

/// How the files hold the matrices of all experts of a layer in one tensor, if they do, where others have a tensor for each.
pub(super) fn stack_of_experts(checkpoint: &Checkpoint) -> Option<Form> {
    let layer =
        checkpoint.names().filter(|name| !name.starts_with(AHEAD)).find_map(|name| name.strip_suffix(STACKS[0]))?;
    let shape = |end: &str| checkpoint.info(&format!("{layer}{end}")).map(|info| info.shape.as_slice());
    match STACKS.map(shape) {
        [Some(&[_, from, both]), Some(&[_, width, to])] if from == to && both == 2 * width => Some(Form::Transposed),
        _ => Some(Form::Plain),
    }
}

impl DecoderSpec {
    /// Whether a tensor of the files is of a layer that predicts tokens further ahead, behind the last block: no part of the decoder, but as
    /// wide as its blocks.
    pub fn is_ahead(&self, name: &str) -> bool {
        let number = name.strip_prefix(&self.block_prefix).and_then(|rest| rest.split('.').next()?.parse().ok());
        name.starts_with(AHEAD) || number.is_some_and(|number: usize| number >= self.number(self.blocks.len()))
    }

    /// What a tensor of the files is called in those of this model, with fewer experts, or neurons or heads where it `narrows`; `None` if it
    /// goes. Layers that predict further ahead go where blocks become narrower.
    pub fn left(&self, name: &str, narrows: bool) -> Option<String> {
        let narrows = narrows || !self.fewer.is_empty();
        if narrows && self.is_ahead(name) { None } else { self.renumbered(name) }
    }
}

/// The model with its tensors as the files name them, and what the user should know of that: as its family does; in another [`KNOWN`] way; or
/// behind a prefix, as wrappers of training leave it. Where nothing fits, as most of it is named.
///
/// # Errors
/// If there are two whole models in the files.
pub(super) fn as_named(spec: DecoderSpec, checkpoint: &Checkpoint) -> Result<(DecoderSpec, Option<String>)> {
    let is_whole = |spec: &DecoderSpec| missing(spec, checkpoint).is_none();
    if is_whole(&spec) {
        return Ok((spec, None));
    }
    let known = KNOWN.map(|prefixes| renamed(&spec, &prefixes.map(String::from)));
    if let Some(spec) = known.iter().find(|spec| is_whole(spec)) {
        return Ok((spec.clone(), None));
    }
    let wrapped: Vec<(Prefixes, DecoderSpec)> = found(&spec, checkpoint)
        .into_iter()
        .map(|prefixes| (prefixes.clone(), renamed(&spec, &prefixes)))
        .filter(|(_, spec)| is_whole(spec))
        .collect();
    match wrapped.as_slice() {
        [] => {
            // of several that have as much, the first
            let best = known.into_iter().rev().max_by_key(|spec| present(spec, checkpoint));
            let best = best.filter(|best| present(best, checkpoint) > present(&spec, checkpoint));
            Ok((best.unwrap_or(spec), None))
        }
        [([body, _], named)] => {
            let note = format!(
                "tensors are named {body}…, which is not how this family names them; the output keeps the names, and whatever loads it has to know them"
            );
            Ok((named.clone(), Some(note)))
        }
        [([one, _], _), ([other, _], _), ..] => Err(Error::Checkpoint {
            path: checkpoint.dir().into(),
            problem: format!("there are several models in the files: tensors are named {one}… and {other}…"),
            hint: Some("save the one to prune alone".into()),
        }),
    }
}

/// The first tensor that the files do not have under its name; the embedding and a head that is tied to it stand for each other.
fn missing(spec: &DecoderSpec, checkpoint: &Checkpoint) -> Option<String> {
    let pair = [&spec.stem.embedding, &spec.head.weight];
    let has = |name: &String| is_there(checkpoint, name) || checkpoint.alias(name).is_some();
    let tied = spec.head.tied && pair.into_iter().any(has);
    let mut names = spec.tensors().into_iter().map(|(name, _)| name);
    names.find(|name| !(has(name) || tied && pair.contains(&name)))
}

/// How many tensors of a model the files have under their names.
fn present(spec: &DecoderSpec, checkpoint: &Checkpoint) -> usize {
    spec.tensors().iter().filter(|(name, _)| is_there(checkpoint, name)).count()
}

/// Whether the files have a tensor, or that of which it is a part.
fn is_there(checkpoint: &Checkpoint, name: &str) -> bool {
    let whole = || whole_of(name).and_then(|whole| checkpoint.info(whole));
    checkpoint.info(name).or_else(whole).is_some()
}

fn renamed(spec: &DecoderSpec, [body, head]: &Prefixes) -> DecoderSpec {
    let base = spec.base().to_owned();
    spec.clone().renamed(|name: &str| match name.strip_prefix(&base) {
        Some(rest) => format!("{body}{rest}"),
        None => format!("{head}{name}"),
    })
}

/// Each prefix that the files have before the names of a body, with the one most like it of those they have before the name of a head.
fn found(spec: &DecoderSpec, checkpoint: &Checkpoint) -> Vec<Prefixes> {
    let Some(first) = spec.linear_ids().next() else { return Vec::new() };
    let name = spec.weight_name(first);
    let before = |end: &str| -> Vec<String> {
        let prefixes = checkpoint.names().filter_map(|name| name.strip_suffix(end));
        prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).map(String::from).collect()
    };
    let heads = before(&spec.head.weight);
    let bodies = before(name.strip_prefix(spec.base()).unwrap_or(&name)).into_iter();
    let with_head = bodies.map(|body| {
        let alike = |head: &&String| body.chars().zip(head.chars()).take_while(|(one, other)| one == other).count();
        let head = heads.iter().max_by_key(alike).cloned().unwrap_or_default();
        [body, head]
    });
    with_head.collect()
}

/// What is wrong with files that do not have a tensor, or have it in a form that is no weight, and what to do.
pub(super) fn explained(spec: &DecoderSpec, checkpoint: &Checkpoint, config: &Value, name: &str) -> (String, String) {
    let wrong = |problem: &str, hint: &str| (problem.to_owned(), hint.to_owned());
    let has = |is: &dyn Fn(&str) -> bool| checkpoint.names().find(|name| is(name));
    let original = "quantised checkpoints cannot be pruned: take the one that it was made from";
    if let Some(method) = config["quantization_config"]["quant_method"].as_str() {
        let hint = if method == "mxfp4" { UNPACKED } else { original };
        return wrong(&format!("the checkpoint is quantised ({method})"), hint);
    }
    if let Some(packed) = has(&|name| QUANTISED.iter().any(|end| name.ends_with(end))) {
        return wrong(&format!("the checkpoint is quantised (there is {packed:?})"), original);
    }
    if let Some(adapter) = has(&|name| ADAPTED.iter().any(|part| name.contains(part))) {
        let hint =
            "merge the adapter first: PeftModel.from_pretrained(…).merge_and_unload().save_pretrained(DIRECTORY)";
        return wrong(&format!("the files hold an adapter that is not merged (there is {adapter:?})"), hint);
    }
    if let Some(flat) = has(&|name| name.contains("flat_param")) {
        let hint = "gather the parameters first (FSDP: state dict type FULL_STATE_DICT), and save the model with save_pretrained";
        return wrong(&format!("the files hold parameters of FSDP, flat ({flat:?})"), hint);
    }
    let architecture = config["architectures"][0].as_str().unwrap_or_default();
    if name == spec.head.weight && !is_of_language(architecture) {
        let hint = "prune the language model that it was trained from; or, where only the body counts, save the body without a head and with \"tie_word_embeddings\": true";
        return wrong(&format!("a {architecture} has no head of a language model"), hint);
    }
    if let Some(other) = checkpoint.alias(name) {
        let hint = "save the model with a copy of its own for each layer (clone the shared tensors)";
        return wrong(&format!("layers share their weights: {name:?} stands for {other:?}"), hint);
    }
    let short = name.strip_prefix(spec.base()).unwrap_or(name);
    let alike = checkpoint.names().find(|other| other.ends_with(short));
    match (alike, checkpoint.names().next()) {
        (Some(other), _) => {
            let (have, all) = (present(spec, checkpoint), spec.tensors().len());
            let problem =
                format!("the files have {other:?}, and {have} of the {all} tensors under the names of the family");
            wrong(&problem, "save the model under the names of its family, and whole")
        }
        (None, Some(other)) => {
            let kind = spec.family;
            let problem = format!("the files have other tensors, as {other:?}");
            wrong(
                &problem,
                &format!("check that the files are whole, and that the model is what config.json says: {kind}"),
            )
        }
        (None, None) => wrong("the files have no tensors", "fetch them again"),
    }
}

/// Whether a class of transformers is a language model, by its name.
pub(super) fn is_of_language(architecture: &str) -> bool {
    let other = ["Classification", "Reward", "ForQuestionAnswering", "ForMultipleChoice"];
    !other.iter().any(|kind| architecture.contains(kind))
}
