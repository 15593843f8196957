//! How a model was made, in words.

use super::markdown::{code, last_name, word};
use crate::hub::HubModel;
use crate::plan::{Granularity, Plan, RetrainingObjective, Rule};
use crate::report::{Made, ModelFacts};
use crate::words::units::{bytes, count, percent};
use crate::words::{patterns, shrunk};

/// Files that are named.
const NAMED: usize = 8;

/// What the input is on the Hub, if it is known to be there.
pub(super) fn hub(model: &ModelFacts) -> Option<&HubModel> {
    model.hub.as_ref().filter(|model| model.is_valid())
}

/// What the input is called: a link where it is on the Hub, else no more of its path than the name.
pub(super) fn input(model: &ModelFacts) -> String {
    match hub(model) {
        Some(HubModel { id, .. }) => format!("[{id}](https://huggingface.co/{id})"),
        None => code(last_name(&model.path)),
    }
}

/// What became of the input, after "pruned by lopper: ".
pub(super) fn outcome(made: &Made) -> String {
    let Made { plan, model, shrunk: size, .. } = made;
    let smaller = size.as_ref().map(|size| shrunk::size(size, &plan.shrink.drop));
    let zeros = has_zeros(plan).then(|| {
        let share = percent(model.sparsity());
        format!(
            "{share} of the weights in its linear layers are zero ({} of {})",
            count(model.zeros),
            count(model.prunable)
        )
    });
    smaller.into_iter().chain(zeros).collect::<Vec<_>>().join("; ")
}

/// Whether zeros are what is left of pruned weights.
pub(super) fn has_zeros(plan: &Plan) -> bool {
    patterns::prune_blocks(plan) && !plan.shrink.narrows()
}

/// A line for each thing that was done.
pub(super) fn steps(made: &Made) -> String {
    let Made { version, plan, model, shrunk: size } = made;
    let mut lines = vec![("Program", format!("lopper {}", code(version)))];
    let commit = hub(model).map_or_else(String::new, |hub| format!(" at commit {}", code(&hub.commit)));
    let digest = code(&model.fingerprint);
    lines.push((
        "Input",
        format!("{}{commit}, {}; BLAKE3 of its config.json and weights {digest}", input(model), word(&model.family)),
    ));
    lines.push(("Outcome", outcome(made)));
    lines.extend(size.as_ref().map(|size| ("For a runtime", shrunk::serving(size))));
    // names that are not in the tables of this program are not repeated
    if patterns::prune_blocks(plan) && plan.method().is_ok() {
        lines.push(("Pattern", patterns::pruning(plan)));
    }
    lines.extend(plan.pruning.rules.iter().map(|rule| ("Rule", asked_by(rule))));
    lines.push(("Reconstruction", reconstruction(plan)));
    lines.extend(retraining(plan).map(|words| ("Retraining", words)));
    lines.push(("Calibration", calibration(plan)));
    lines.push(("Arithmetic", format!("linear layers computed in {}", plan.compute.dtype.name())));
    lines.iter().map(|(what, words)| format!("* **{what}**: {words}\n")).collect()
}

fn asked_by(rule: &Rule) -> String {
    let asked = match rule {
        Rule { pattern: Some(pattern), .. } => code(pattern),
        Rule { sparsity: Some(sparsity), .. } => percent(*sparsity),
        _ => "left dense".into(),
    };
    format!("{} → {asked}", code(&rule.matrices))
}

fn reconstruction(plan: &Plan) -> String {
    let reconstruction = &plan.reconstruction;
    let window = match reconstruction.granularity {
        Granularity::None => return "none".into(),
        Granularity::Matrix => "each matrix".into(),
        Granularity::Submodule => "each submodule".into(),
        Granularity::Block => "each block".into(),
        Granularity::Blocks(blocks) => format!("every {blocks} blocks together"),
        Granularity::Model => "all blocks together".into(),
    };
    let epochs = epochs(reconstruction.epochs);
    format!("{window} trained ({}) to give the activations of the dense model, {epochs}", reconstruction.parameters)
}

fn retraining(plan: &Plan) -> Option<String> {
    let goal = match plan.retraining.objective {
        RetrainingObjective::None => return None,
        RetrainingObjective::Ce => "predict the next token",
        RetrainingObjective::Kl => "predict what the dense model predicts",
        RetrainingObjective::Logits => "give the logits of the dense model",
    };
    let epochs = epochs(plan.retraining.epochs);
    Some(format!("the whole model trained ({}) to {goal}, {epochs}", plan.retraining.parameters))
}

fn epochs(epochs: usize) -> String {
    if epochs == 1 { "1 epoch".into() } else { format!("{epochs} epochs") }
}

fn calibration(plan: &Plan) -> String {
    let calibration = &plan.calibration;
    let length = calibration.seqlen.map_or_else(String::new, |tokens| format!(" of {} tokens", count(tokens)));
    let (samples, held_out, seed) = (count(calibration.samples), count(calibration.held_out), calibration.seed);
    format!("{samples} windows{length} of {}, {held_out} more held out, seed {seed}", calibration_text(plan))
}

/// What the calibration text was.
pub(super) fn calibration_text(plan: &Plan) -> String {
    let files: Vec<_> = plan.calibration.files.iter().chain(&plan.calibration.wikitext).collect();
    let named: Vec<String> = files.iter().take(NAMED).map(|file| code(last_name(&file.to_string_lossy()))).collect();
    let more = files.len() - named.len();
    match more {
        _ if files.is_empty() => "text that is built into lopper".into(),
        0 => named.join(", "),
        _ => format!("{} and {more} more files", named.join(", ")),
    }
}

/// Bytes of all tensors, before and after.
pub(super) fn size(made: &Made) -> String {
    match &made.shrunk {
        Some(size) => {
            format!("Its tensors take {}, those of its input {}.", bytes(size.bytes[1]), bytes(size.bytes[0]))
        }
        None => format!("Its tensors take {}, as those of its input do.", bytes(made.model.bytes)),
    }
}
