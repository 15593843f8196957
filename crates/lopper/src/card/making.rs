//! How a model was made, in words.

use super::markdown::{code, last_name, word};
use crate::hub::HubModel;
use crate::plan::{Granularity, Inputs, Plan, RetrainingObjective, Rule, WindowTargets};
use crate::report::{Made, ModelFacts};
use crate::words::units::{bytes, count, percent};
use crate::words::{patterns, shrunk, training};

/// Texts that are named.
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
    let zeros = has_zeros(made).then(|| {
        let share = percent(model.sparsity());
        format!(
            "{share} of the weights in its linear layers are zero ({} of {})",
            count(model.zeros),
            count(model.prunable)
        )
    });
    let outcomes: Vec<String> = smaller.into_iter().chain(zeros).collect();
    if outcomes.is_empty() { "no weight became zero, and nothing was taken out".into() } else { outcomes.join("; ") }
}

/// Whether zeros are what is left of pruned weights.
pub(super) fn has_zeros(Made { plan, model, .. }: &Made) -> bool {
    patterns::prune_blocks(plan) && !plan.shrink.narrows() && model.zeros > 0
}

/// Whether the matrix before blocks that went moved to stand in for them, where it could.
fn stands_in(Made { plan, shrunk, .. }: &Made) -> bool {
    plan.stands_in() && shrunk.as_ref().is_some_and(|size| size.depth.is_some())
}

/// Whether held-out windows had a say in the repair: in how long something trained, or how strongly it was damped.
pub(super) fn judged_repair(made: &Made) -> bool {
    let Made { plan, calibrated, .. } = made;
    let trained =
        plan.reconstruction.granularity != Granularity::None || plan.retraining.objective != RetrainingObjective::None;
    *calibrated && plan.calibration.held_out > 0 && (trained || stands_in(made) || plan.judges().unwrap_or_default())
}

/// A line for each thing that was done; of windows that were held out for scores alone, only where there are such scores.
pub(super) fn steps(made: &Made, scores_held_out: bool) -> String {
    let Made { version, plan, model, shrunk: size, .. } = made;
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
    if stands_in(made) {
        let words = "the matrix before blocks that went moved by least squares to give what they gave, where nothing stands between what it gives and the states";
        lines.push(("Compensation", words.into()));
    }
    lines.push(("Reconstruction", reconstruction(plan)));
    lines.extend(retraining(plan).map(|words| ("Retraining", words)));
    lines.push(("Calibration", calibration(made, scores_held_out)));
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
    let goal = match (reconstruction.targets, plan.calibration.inputs) {
        // of the inputs of the dense model it makes its own activations
        (WindowTargets::Dense, _) | (_, Inputs::Dense) => "the activations of the dense model",
        (WindowTargets::Local, Inputs::Pruned) => "what the dense model makes of the same inputs",
    };
    let (parameters, epochs) = (reconstruction.parameters, epochs(reconstruction.epochs));
    format!("{window}{} trained ({parameters}) to give {goal}, {epochs}", which(plan))
}

/// Which windows trained, where not all did.
fn which(plan: &Plan) -> &'static str {
    let shrink = &plan.shrink;
    let prunes = patterns::prune_blocks(plan);
    let gaps = shrink.depth.is_some() || !shrink.drop.is_empty() || shrink.experts.is_some();
    match (prunes, gaps) {
        (true, _) if plan.pruning.rules.is_empty() && !shrink.narrows() => "",
        (_, false) => " in which something was pruned,",
        (true, true) => " in which something was pruned, or that makes up for what went,",
        (false, true) => " that makes up for what went,",
    }
}

fn retraining(plan: &Plan) -> Option<String> {
    let goal = training::goal(plan.retraining.objective)?;
    let epochs = epochs(plan.retraining.epochs);
    Some(format!("the whole model trained ({}) to {goal}, {epochs}", plan.retraining.parameters))
}

fn epochs(epochs: usize) -> String {
    if epochs == 1 { "1 epoch".into() } else { format!("{epochs} epochs") }
}

fn calibration(Made { plan, calibrated, .. }: &Made, scores_held_out: bool) -> String {
    let calibration = &plan.calibration;
    let length = calibration.seqlen.map_or_else(String::new, |tokens| format!(" of {} tokens", count(tokens)));
    let (samples, held_out, seed) = (count(calibration.samples), count(calibration.held_out), calibration.seed);
    let text = listed(&texts(plan));
    match (calibrated, scores_held_out) {
        (true, _) => format!("{samples} windows{length} of {text}, {held_out} more held out, seed {seed}"),
        (false, true) => format!("none; {held_out} windows{length} of {text} held out for the scores, seed {seed}"),
        (false, false) => "none".into(),
    }
}

/// What the calibration text was: its files, or what is built in.
pub(super) fn texts(plan: &Plan) -> Vec<String> {
    let files = plan.calibration.files.iter().chain(&plan.calibration.wikitext);
    let named: Vec<String> = files.map(|file| code(last_name(&file.to_string_lossy()))).collect();
    if named.is_empty() { vec!["text that is built into lopper".into()] } else { named }
}

/// Texts, the first of them by name.
pub(super) fn listed(texts: &[String]) -> String {
    let named = &texts[..texts.len().min(NAMED)];
    match texts.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
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
