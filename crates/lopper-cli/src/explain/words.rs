//! The schedule in words.

use lopper::Result;
use lopper::calibration::{Needs, Sampling};
use lopper::explain::rungs;
use lopper::model::{DecoderSpec, Part};
use lopper::plan::{Inputs, Plan, Ratios, RetrainingObjective};
use lopper::reconstruction::Parameters;
use lopper::schedule::{Schedule, Step, Trained};

use crate::render::{patterns, units};

/// What happens, in order; steps of a block are indented.
pub fn steps(plan: &Plan, spec: &DecoderSpec, bytes: u64, scored: usize) -> Result<Vec<String>> {
    let schedule = Schedule::new(plan)?;
    let (compressed, models) = rungs(plan);
    let mut steps = vec![format!(
        "open the model ({}, {}) and check every tensor; weights stay on disk until they are needed",
        spec.family,
        units::bytes(bytes)
    )];
    if schedule.calibrates {
        steps.push(calibration(plan, spec, &schedule));
    }
    if scored > 0 {
        steps.push(format!("score the dense model on {} tokens", units::count(scored)));
    }
    steps.extend(schedule.survey.map(|needs| survey(plan, needs)));
    if compressed > 1 {
        steps.push(format!(
            "for the ladder: do the following {compressed} times, with less repair first; only the last is kept"
        ));
    }
    let span = schedule.granularity.span().min(spec.blocks).max(1);
    let (each, whose) = match span {
        1 => (format!("for each of {} blocks, one at a time:", spec.blocks), "its weights"),
        _ => (format!("for every {span} of {} blocks together:", spec.blocks), "the weights"),
    };
    steps.push(each);
    steps.push(format!("    load {whose} as f32 ({} a block)", units::bytes(4 * spec.block_weights() as u64)));
    for step in schedule.steps(1) {
        steps.push(format!("    {}", self::step(&step, plan, spec, &schedule)?));
    }
    steps.push(format!("    write {whose} in the dtype of the file, and forget them"));
    steps.extend(retrain(plan));
    steps.push("reopen what was written, check that every matrix has its zeros and that nothing else changed".into());
    if scored > 0 {
        steps.push(format!("score what was written ({models} models are scored in all), then give it its name"));
    }
    Ok(steps)
}

fn retrain(plan: &Plan) -> Option<String> {
    let retraining = &plan.retraining;
    let goal = match retraining.objective {
        RetrainingObjective::None => return None,
        RetrainingObjective::Ce => "predict the next token",
        RetrainingObjective::Kl => "predict what the dense model predicts",
        RetrainingObjective::Logits => "give the logits of the dense model",
    };
    let (epochs, windows) = (retraining.epochs, plan.calibration.samples);
    Some(format!(
        "train {} of the whole model at once to {goal}: {epochs} epochs of {windows} windows; zeros stay zero",
        what_trains(retraining.parameters)
    ))
}

/// What trains.
fn what_trains(parameters: Parameters) -> String {
    if parameters == Parameters::FULL { "the kept weights".into() } else { parameters.to_string() }
}

fn calibration(plan: &Plan, spec: &DecoderSpec, schedule: &Schedule) -> String {
    let calibration = &plan.calibration;
    let source = match calibration.files.len() + calibration.wikitext.len() {
        0 => "built-in text".into(),
        1 => "one file".into(),
        files => format!("{files} files"),
    };
    let how = match calibration.sampling {
        Sampling::First => "the first",
        Sampling::Random => "random",
    };
    let streams = if schedule.dense_stream { ", for the dense and the pruned model side by side" } else { "" };
    let (windows, seqlen) = (calibration.samples + calibration.held_out, plan.calibration_seqlen(spec));
    let held_out = calibration.held_out;
    format!("embed {windows} windows of {seqlen} tokens of {source} ({how} ones, {held_out} of them held out){streams}")
}

fn survey(plan: &Plan, needs: Needs) -> String {
    let pass = if needs == Needs::Nothing { "read the dense model once" } else { "run the dense model once" };
    let what = match plan.pruning.ratios {
        Ratios::Owl => "count the outliers of each block, and share out the zeros by them".into(),
        Ratios::Uniform => {
            format!("compare the {} scores of matrices that compete, and share out the zeros", plan.pruning.criterion)
        }
    };
    format!("{pass}: {what}")
}

fn step(step: &Step, plan: &Plan, spec: &DecoderSpec, schedule: &Schedule) -> Result<String> {
    Ok(match step {
        Step::Prune(_, parts) => prune(parts, plan, schedule)?,
        Step::Restart => "let the targets begin at what the window reads".into(),
        Step::Teach((_, part)) => format!("move the targets through {} of the dense model", half(*part)),
        Step::Preview((_, part)) => format!("show what follows the activations after {} as pruned", half(*part)),
        Step::Reconstruct(trained) => reconstruct(trained, plan, spec, schedule),
        Step::Advance((_, part)) => format!("move the activations through {}", half(*part)),
    })
}

fn reconstruct(trained: &Trained, plan: &Plan, spec: &DecoderSpec, schedule: &Schedule) -> String {
    let reconstruction = &plan.reconstruction;
    let what = match trained {
        Trained::Matrix(role) => format!("the {role:?} matrix").to_lowercase(),
        Trained::Halves(halves) if halves.len() == 1 => half(halves[0].1).into(),
        Trained::Halves(_) => match schedule.granularity.span().min(spec.blocks) {
            1 => "the block".into(),
            span => format!("the {span} blocks together"),
        },
    };
    let trains = what_trains(reconstruction.parameters);
    let rows = reconstruction.batch * reconstruction.accumulate * plan.calibration_seqlen(spec);
    format!(
        "train {trains} of {what} to give what the dense model gives: {} epochs of {} windows, {} tokens a step",
        reconstruction.epochs,
        plan.calibration.samples,
        units::count(rows)
    )
}

fn prune(parts: &[Part], plan: &Plan, schedule: &Schedule) -> Result<String> {
    let names: Vec<_> = parts.iter().map(|part| half(*part)).collect();
    let whose = match plan.calibration.inputs {
        Inputs::Dense => "of the dense model",
        Inputs::Pruned => "of the model pruned so far",
    };
    let look = match schedule.needs {
        Needs::Nothing => String::new(),
        Needs::ColumnNorms => format!("collect the norms of the inputs {whose}, "),
        Needs::Gram => format!("collect the Gram matrices of the inputs {whose}, "),
        Needs::InverseHessian => format!("collect and invert the Gram matrices of the inputs {whose}, "),
    };
    let rest = if plan.pruning.rules.is_empty() { "" } else { ", or what the rules say," };
    let share = format!("{}{rest}", patterns::asked(plan)?);
    let repair = if plan.pruning.compensation == "none" {
        String::new()
    } else {
        format!(", compensate ({})", plan.pruning.compensation)
    };
    Ok(format!("{}: {look}prune {share} by {}{repair}", names.join(" and "), patterns::chosen_by(&plan.pruning)))
}

fn half(part: Part) -> &'static str {
    match part {
        Part::Attention => "the attention",
        Part::Mlp => "the feed-forward layer",
    }
}
