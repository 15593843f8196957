//! The schedule in words.

use std::ops::Range;

use lopper::Result;
use lopper::calibration::{Needs, Sampling};
use lopper::model::{BranchId, DecoderSpec, LinearId, StageId};
use lopper::plan::{Granularity, Inputs, Narrowing, Plan, Ratios};
use lopper::reconstruction::Parameters;
use lopper::schedule::{Run, Schedule, State, Step, Trained, Weights};

use crate::render::{patterns, training, units};

/// What happens, in order; steps of a block are indented.
pub fn steps(run: &Run, bytes: u64, scored: usize) -> Result<Vec<String>> {
    let Run { plan, spec, schedule, .. } = run;
    let (pruned, models) = run.models();
    let mut steps = vec![format!(
        "open the model ({}, {}) and check every tensor; weights stay on disk until they are needed",
        spec.family,
        units::bytes(bytes)
    )];
    if schedule.calibrates {
        steps.push(calibration(plan, spec, schedule));
    }
    if scored > 0 {
        steps.push(format!("score the dense model on {} tokens", units::count(scored)));
    }
    if plan.shrink.depth.is_some() {
        let count = spec.gone.len();
        steps.push(format!("run the dense model once: choose the {count} blocks in a row that turn its states least"));
    }
    if let Some(keep) = plan.shrink.experts {
        steps.push(format!(
            "run the dense model once, every expert on every token: choose the {keep} of each layer without which its output would change most"
        ));
    }
    steps.extend(schedule.survey.map(|needs| survey(plan, needs)));
    if pruned > 1 {
        steps.push(format!(
            "for the ladder: do the following {pruned} times, with less repair first; only the last is kept"
        ));
    }
    let first = schedule.windows().next().unwrap_or(0..0);
    let (blocks, span) = (spec.blocks.len(), first.len());
    let (each, whose) = match span {
        1 => (format!("for each of {blocks} blocks, one at a time:"), "its weights"),
        _ => (format!("for every {span} of {blocks} blocks together:"), "the weights"),
    };
    steps.push(each);
    for step in schedule.steps(first) {
        if !run.is_idle(&step) {
            let said = Words { run, span }.step(&step)?;
            steps.extend(said.map(|said| format!("    {said}")));
        }
    }
    steps.push(format!("    write {whose} in the dtype of the file, and forget them"));
    steps.extend(gone(run, span)?);
    if !spec.fewer.is_empty() && schedule.dense_stream {
        let train = if plan.reconstruction.granularity == Granularity::None {
            ""
        } else {
            "; they and every window behind train to give it"
        };
        steps.push(format!("    where experts go: the targets are what all of them give{train}"));
    }
    steps.extend(retrain(plan));
    steps.push("reopen what was written, check that every matrix has its zeros and that nothing else changed".into());
    let kept = run.kept_units().into_iter().map(|(kind, keep)| format!("{} {}", units::count(keep), kind.plural()));
    let depth = (!spec.gone.is_empty()).then(|| format!("{} blocks", spec.blocks.len()));
    let experts = plan.shrink.experts.map(|keep| format!("{keep} experts"));
    let left: Vec<String> = kept.chain(experts).chain(depth).collect();
    if !left.is_empty() {
        steps.push(format!("take out what goes, and write config.json for {}", left.join(" and ")));
    }
    if scored > 0 {
        steps.push(format!("score what was written ({models} models are scored in all), then give it its name"));
    }
    Ok(steps)
}

/// What happens before blocks that go, beside what happens everywhere.
fn gone(run: &Run, span: usize) -> Result<Option<String>> {
    let Run { plan, spec, schedule, .. } = run;
    if spec.gone.is_empty() || !schedule.dense_stream {
        return Ok(None);
    }
    let numbers: Vec<usize> = spec.gone.keys().copied().collect();
    let which = match plan.shrink.depth {
        Some(_) => format!("the {} blocks that go", numbers.len()),
        None => format!("those that go ({})", units::ranges(&numbers)),
    };
    let mut said = vec![format!("    before {which}: move the targets through them too")];
    let is_before = |window: &Range<usize>| window.clone().any(|block| !spec.gone_before(block + 1).is_empty());
    let is_own = |step: &&Step| match step {
        Step::StandIn { .. } => !run.is_idle(step),
        Step::Train { .. } => !patterns::prune_blocks(plan) && !run.is_idle(step),
        _ => false,
    };
    for step in schedule.windows().find(is_before).map(|window| schedule.steps(window)).iter().flatten().filter(is_own)
    {
        said.extend(Words { run, span }.step(step)?);
    }
    let (trains, chosen) = (plan.reconstruction.granularity != Granularity::None, plan.shrink.depth.is_some());
    let follows = chosen || run.drifting.iter().any(|&stage| !spec.is_before_gone(stage));
    if trains && follows && !schedule.restarts() && !patterns::prune_blocks(plan) {
        said.push("behind them train every window likewise".into());
        said.extend(chosen.then(|| "how many follow is not known yet, and not counted in the time below".into()));
    }
    Ok(Some(said.join("; ")))
}

fn retrain(plan: &Plan) -> Option<String> {
    let retraining = &plan.retraining;
    let goal = training::goal(retraining.objective)?;
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
            format!("compare the {} scores of matrices that compete, and share out the zeros", plan.criterion())
        }
    };
    format!("{pass}: {what}")
}

/// What a step is said of.
struct Words<'a> {
    run: &'a Run<'a>,
    /// Blocks of a window.
    span: usize,
}

impl Words<'_> {
    /// A step; nothing of those that only let go of something.
    fn step(&self, step: &Step) -> Result<Option<String>> {
        Ok(Some(match step {
            &Step::Load(block) => {
                let weights = 4 * self.run.spec.blocks[block].weights() as u64;
                format!("load {}weights as f32 ({})", self.of(block), units::bytes(weights))
            }
            Step::Calibrate { branches, reads, .. } => self.calibrate(branches, *reads),
            Step::Prune(branches) => self.prune(branches)?,
            Step::Copy { from, to } => format!("let {} begin at {}", states(*to), states(*from)),
            Step::Move { state, stage, weights } => {
                let whose = match weights {
                    Weights::Dense => " of the dense model",
                    Weights::Pruned => "",
                    Weights::Stored => " as pruned",
                };
                format!("move {} through {}{whose}", states(*state), self.stage(*stage))
            }
            Step::Pass { state, number } => {
                format!("move {} through block {number} of the dense model, which goes", states(*state))
            }
            Step::StandIn { linear, .. } => {
                format!("move the {} matrix by least squares, to give what blocks that go gave", self.linear(*linear))
            }
            Step::Capture { linear, from, .. } => {
                format!("keep what the {} matrix reads of {}", self.linear(*linear), states(*from))
            }
            Step::Apply { linear, .. } => format!("keep what the dense {} matrix gives", self.linear(*linear)),
            Step::Train { window, .. } => self.train(window),
            Step::Round(stage) => format!("round {} to the dtype of the file", self.stage(*stage)),
            Step::Rename { from, to } => format!("{} become {}", states(*from), states(*to)),
            Step::Release(_) | Step::ForgetStatistics(_) | Step::Forget(_) => return Ok(None),
        }))
    }

    /// `block 3: ` where there are several in a window.
    fn of(&self, block: usize) -> String {
        if self.span > 1 { format!("block {block}: ") } else { String::new() }
    }

    fn branch(&self, id: BranchId) -> &'static str {
        match self.run.spec.blocks[id.at.block].branch(id).name {
            "attention" => "the attention",
            "experts" => "the experts",
            "mixer" => "the mixer",
            "mlp" => "the feed-forward layer",
            other => other,
        }
    }

    fn stage(&self, at: StageId) -> String {
        let branches = self.run.spec.blocks[at.block].stages[at.stage].branches.len();
        let names: Vec<_> = (0..branches).map(|branch| self.branch(BranchId { at, branch })).collect();
        self.of(at.block) + &names.join(" and ")
    }

    fn linear(&self, id: LinearId) -> &'static str {
        self.run.spec.linear(id).role
    }

    fn train(&self, window: &Trained) -> String {
        let reconstruction = &self.run.plan.reconstruction;
        let what = match window {
            Trained::Linear(linear) => format!("the {} matrix", self.linear(*linear)),
            Trained::Branches(branches) if branches.len() == 1 => self.branch(branches[0]).into(),
            Trained::Branches(_) if self.span == 1 => "the block".into(),
            Trained::Branches(_) => format!("the {} blocks together", self.span),
        };
        let trains = what_trains(reconstruction.parameters);
        let rows = reconstruction.batch * reconstruction.accumulate * self.run.plan.calibration_seqlen(self.run.spec);
        format!(
            "train {trains} of {what} to give what the dense model gives: {} epochs of {} windows, {} tokens a step",
            reconstruction.epochs,
            self.run.plan.calibration.samples,
            units::count(rows)
        )
    }

    /// `the attention and the feed-forward layer`
    fn branches(&self, branches: &[BranchId]) -> String {
        let names: Vec<_> = branches.iter().map(|&branch| self.branch(branch)).collect();
        branches.first().map_or_else(String::new, |first| self.of(first.at.block)) + &names.join(" and ")
    }

    fn calibrate(&self, branches: &[BranchId], reads: State) -> String {
        let whose = match self.run.plan.calibration.inputs {
            Inputs::Dense => "of the dense model",
            Inputs::Pruned => "of the model pruned so far",
        };
        let what = match self.run.schedule.needs {
            Needs::Nothing => return format!("{}: run it on {} {whose}", self.branches(branches), states(reads)),
            Needs::ColumnNorms => "collect the norms",
            Needs::Gram => "collect the Gram matrices",
            Needs::InverseHessian => "collect and invert the Gram matrices",
        };
        format!("{}: {what} of the inputs {whose}", self.branches(branches))
    }

    fn prune(&self, branches: &[BranchId]) -> Result<String> {
        let plan = &self.run.plan;
        let rest = if plan.pruning.rules.is_empty() { "" } else { ", or what the rules say," };
        let of_these = |narrowing: &&Narrowing| narrowing.layers.iter().any(|(branch, _)| branches.contains(branch));
        let away = self.run.narrowings.iter().filter(of_these).map(|Narrowing { kind, keep, of, .. }| {
            format!("{} of {} {} away", units::count(of - keep), units::count(*of), kind.plural())
        });
        let away: Vec<String> = away.collect();
        let share = if away.is_empty() { format!("{}{rest}", patterns::asked(plan)?) } else { away.join(" and ") };
        let repair = if plan.pruning.compensation == "none" {
            String::new()
        } else {
            format!(", compensate ({})", plan.pruning.compensation)
        };
        Ok(format!("{}: prune {share} by {}{repair}", self.branches(branches), patterns::chosen_by(plan)))
    }
}

/// What hidden states are called.
fn states(state: State) -> &'static str {
    match state {
        State::Inputs => "the activations",
        State::Ahead => "the activations ahead",
        State::Dense => "the targets",
        State::LayerInputs => "the inputs of the matrix",
        State::LayerDense => "its inputs in the dense model",
        State::LayerTargets => "its targets",
    }
}
