//! A plan resolved once against a model: what its names stand for, as values. `explain` and `prune` read this and look nothing up.

use std::collections::BTreeSet;

use super::{Schedule, Step, Trained};
use crate::calibration::Needs;
use crate::error::Result;
use crate::method::Method;
use crate::model::{BranchId, DecoderSpec, LinearId, StageId, UnitKind, Units};
use crate::plan::{Granularity, Narrowing, Plan, RetrainingObjective, Targets};

/// A run: a plan that contradicts neither itself nor the model, and what follows from it.
///
/// ```
/// use lopper::model::describe;
/// use lopper::plan::Plan;
/// use lopper::schedule::{Run, State, Step};
///
/// # fn main() -> lopper::Result<()> {
/// let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
///     "num_attention_heads": 2, "intermediate_size": 32});
/// let spec = describe("config.json".as_ref(), &config)?;
/// let run = Run::new(&Plan::default(), &spec)?;
/// assert_eq!(run.name, "reconstructed");
/// // the dense model's states, which are the targets, and those of the pruned one
/// assert_eq!(run.schedule.kept().collect::<Vec<_>>(), [State::Inputs, State::Dense]);
/// let steps = run.schedule.steps(0..1);
/// assert_eq!(steps.iter().filter(|step| matches!(step, Step::Train { .. })).count(), 2, "attention, feed-forward layer");
/// # Ok(())
/// # }
/// ```
pub struct Run<'a> {
    /// As it was given.
    pub plan: Plan,
    /// The model.
    pub spec: &'a DecoderSpec,
    /// What the model is called that the run makes: `pruned`, `compensated`, `reconstructed` or `retrained`.
    pub name: &'static str,
    /// How a layer problem is solved.
    pub method: Method,
    /// Whether the inputs of held-out sequences are counted too, because the compensation finds its damping by them.
    pub judges: bool,
    /// What is asked of every matrix.
    pub targets: Targets,
    /// What becomes of feed-forward layers and attention that are to be narrower.
    pub narrowings: Vec<Narrowing>,
    /// Stages that train though nothing of them is pruned, because of blocks or experts that go.
    pub drifting: BTreeSet<StageId>,
    /// What happens to every window.
    pub schedule: Schedule<'a>,
    /// Models that are repaired less, from least to most, where the plan asks for a ladder. Each is made and scored by itself.
    pub lower: Vec<Run<'a>>,
    /// What the model is called that retraining begins with, where a ladder asks for its scores.
    pub before_retraining: Option<&'static str>,
}

impl<'a> Run<'a> {
    /// Resolves a plan against a model; where blocks or experts are to go, against what is left of it: see [`Plan::omitted`].
    ///
    /// # Errors
    /// Everything that can be known to be wrong before the first forward pass: see [`Plan::validate`].
    pub fn new(plan: &Plan, spec: &'a DecoderSpec) -> Result<Self> {
        plan.validate(spec)?;
        let mut run = Self::alone(plan, spec)?;
        if !plan.evaluation.ladder {
            return Ok(run);
        }
        let own = without_retraining(plan);
        let mut compensated = own.clone();
        compensated.reconstruction.granularity = Granularity::None;
        let mut pruned = compensated.clone();
        pruned.pruning.compensation = "none".into();
        let lower = [pruned, compensated].iter().map(|lower| Self::alone(lower, spec)).collect::<Result<Vec<_>>>()?;
        run.lower = lower.into_iter().filter(|lower| lower.name != name(&own)).collect();
        run.lower.dedup_by_key(|lower| lower.name);
        if run.targets.zeros().0 == 0 && spec.gone.is_empty() {
            // where nothing becomes zero there is nothing to compensate
            run.lower.retain(|lower| lower.name != "compensated");
        }
        run.before_retraining = (name(plan) != name(&own)).then(|| name(&own));
        Ok(run)
    }

    /// Without a ladder.
    fn alone(plan: &Plan, spec: &'a DecoderSpec) -> Result<Self> {
        let (method, narrowings) = (plan.method()?, plan.narrowings(spec)?);
        Ok(Self {
            schedule: Schedule::new(plan, spec, method.needs())?,
            drifting: plan.drifting(spec),
            narrowings,
            plan: plan.clone(),
            spec,
            name: name(plan),
            judges: plan.judges()?,
            method,
            targets: plan.targets(spec)?,
            lower: Vec::new(),
            before_retraining: None,
        })
    }

    /// How many models are pruned, and how many are scored: the dense one, each that is pruned, and what retraining begins with.
    pub fn models(&self) -> (usize, usize) {
        let pruned = 1 + self.lower.len();
        (pruned, 1 + pruned + usize::from(self.before_retraining.is_some()))
    }

    /// Whether the calibration text has a say in what is written: it is looked at to choose, to compensate or to train.
    pub fn is_calibrated(&self) -> bool {
        let (shrink, needs) = (&self.plan.shrink, self.schedule.needs);
        let chooses = shrink.depth.is_some() || shrink.experts.is_some();
        let surveys = self.schedule.survey.is_some_and(|needs| needs != Needs::Nothing);
        let has_say = |step: &Step| match step {
            Step::Prune(_) => needs != Needs::Nothing && !self.is_idle(step),
            Step::StandIn { .. } | Step::Train { .. } => !self.is_idle(step),
            _ => false,
        };
        let mut windows = self.schedule.windows();
        chooses || surveys || self.retrains() || windows.any(|window| self.schedule.steps(window).iter().any(has_say))
    }

    /// Whether a step finds nothing to do: nothing of its branches is pruned, or trains.
    pub fn is_idle(&self, step: &Step) -> bool {
        let any = |branches: &[BranchId], has: &dyn Fn(LinearId) -> bool| {
            branches.iter().any(|&branch| self.spec.linears_of(branch).any(has))
        };
        match step {
            Step::Calibrate { branches, writes: None, .. } => !any(branches, &|linear| self.solves(linear)),
            Step::Prune(branches) => !any(branches, &|linear| self.targets.prunes(linear)),
            Step::Train { window: Trained::Branches(branches), .. } => {
                !any(branches, &|linear| self.targets.asks(linear))
            }
            Step::StandIn { linear, .. } => !self.targets.asks(*linear),
            _ => false,
        }
    }

    /// Whether the kept weights of a linear layer are solved for: where units go, only of those that read them.
    pub fn solves(&self, linear: LinearId) -> bool {
        self.targets.prunes(linear) && self.units_of(linear).is_none_or(|units| units.reader == linear.index)
    }

    /// How many units of each kind are kept, of those some of which go.
    pub fn kept_units(&self) -> Vec<(UnitKind, usize)> {
        self.narrowings.iter().map(|narrowing| (narrowing.kind, narrowing.keep)).collect()
    }

    /// The units some of which go that a linear layer reads or makes.
    pub fn units_of(&self, linear: LinearId) -> Option<&Units> {
        self.narrowings.iter().find_map(|narrowing| narrowing.units_of(linear))
    }

    /// Whether the whole model is trained after its windows.
    pub fn retrains(&self) -> bool {
        self.plan.retraining.objective != RetrainingObjective::None
    }

    /// Tokens of a calibration sequence.
    pub fn seqlen(&self) -> usize {
        self.plan.calibration_seqlen(self.spec)
    }
}

/// What the model is called that a plan makes.
fn name(plan: &Plan) -> &'static str {
    match (plan.retraining.objective, plan.reconstruction.granularity, plan.pruning.compensation.as_str()) {
        (RetrainingObjective::None, Granularity::None, "none") => "pruned",
        (RetrainingObjective::None, Granularity::None, _) => "compensated",
        (RetrainingObjective::None, ..) => "reconstructed",
        _ => "retrained",
    }
}

fn without_retraining(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.retraining.objective = RetrainingObjective::None;
    plan
}
