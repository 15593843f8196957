//! Plan and model → what happens to each block, in order. Pure: `explain` prints it, `prune` obeys it.

use crate::calibration::Needs;
use crate::error::Result;
use crate::model::{LinearRole, Part};
use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, RetrainingObjective, WindowTargets};

/// Tokens per forward pass: enough to fill the kernels, few enough for the caches.
const BATCH_TOKENS: usize = 1024;

/// Sequences of this length per forward pass.
pub(crate) fn batch(seqlen: usize) -> usize {
    (BATCH_TOKENS / seqlen.max(1)).max(1)
}

/// What trains together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trained {
    /// One linear layer of the first block of the window.
    Matrix(LinearRole),
    /// Consecutive halves.
    Halves(Vec<Half>),
}

/// Half of a block, which is counted from the first of its window.
pub type Half = (usize, Part);

/// One step of a window. Blocks are counted from its first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Show the dense weights of these halves of a block the calibration data, then prune and repair their matrices.
    Prune(usize, Vec<Part>),
    /// Let the targets begin anew at the states the window reads.
    Restart,
    /// Move the targets through this half of the dense model.
    Teach(Half),
    /// Move the states that statistics are taken of through this half; the window will read those before it.
    Preview(Half),
    /// Train what is kept against the dense model.
    Reconstruct(Trained),
    /// Move the hidden states through this half.
    Advance(Half),
}

/// What a model is called that is made by this plan.
pub fn rung_name(plan: &Plan) -> &'static str {
    match (plan.retraining.objective, plan.reconstruction.granularity, plan.pruning.compensation.as_str()) {
        (RetrainingObjective::None, Granularity::None, "none") => "pruned",
        (RetrainingObjective::None, Granularity::None, _) => "compensated",
        (RetrainingObjective::None, ..) => "reconstructed",
        _ => "retrained",
    }
}

/// The plans that do less, from least to most, each for a model of its own, where the plan asks for a ladder.
pub fn lower_rungs(plan: &Plan) -> Vec<(&'static str, Plan)> {
    if !plan.evaluation.ladder {
        return Vec::new();
    }
    let own = without_retraining(plan);
    let mut compensated = own.clone();
    compensated.reconstruction.granularity = Granularity::None;
    let mut pruned = compensated.clone();
    pruned.pruning.compensation = "none".into();
    let lower = [pruned, compensated].map(|lower| (rung_name(&lower), lower));
    let mut rungs: Vec<_> = lower.into_iter().filter(|(name, _)| *name != rung_name(&own)).collect();
    rungs.dedup_by_key(|(name, _)| *name);
    rungs
}

/// What the model is called that retraining begins with, where a ladder asks for its scores.
pub fn rung_before_retraining(plan: &Plan) -> Option<&'static str> {
    let retrains = plan.retraining.objective != RetrainingObjective::None;
    (plan.evaluation.ladder && retrains).then(|| rung_name(&without_retraining(plan)))
}

fn without_retraining(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.retraining.objective = RetrainingObjective::None;
    plan
}

/// What happens to every window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What a pass over the dense model collects before the first block; `None` where every share is known beforehand.
    pub survey: Option<Needs>,
    /// What trains together.
    pub granularity: Granularity,
    /// Halves of a block that are pruned from one pass.
    groups: Vec<Vec<Part>>,
    /// What the method wants to know of a layer's inputs.
    pub needs: Needs,
    /// Whether hidden states are needed at all.
    pub calibrates: bool,
    /// Whether those that layers are shown are the dense model's.
    pub dense_inputs: bool,
    /// Whether targets run beside the hidden states of the pruned model.
    pub dense_stream: bool,
    /// Whose activations windows should give.
    targets: WindowTargets,
}

impl Schedule {
    /// The schedule of a plan.
    ///
    /// # Errors
    /// If the plan names an unknown method.
    pub fn new(plan: &Plan) -> Result<Self> {
        let granularity = plan.reconstruction.granularity;
        let trains = granularity != Granularity::None;
        let refinement = if plan.pruning.swaps > 0 { Needs::Gram } else { Needs::Nothing };
        let needs = plan.method()?.needs().max(refinement);
        let dense_inputs = plan.calibration.inputs == Inputs::Dense;
        let halves = [Part::Attention, Part::Mlp];
        // inputs of the dense model do not change by pruning: the finer order costs nothing and gives the targets
        let together = plan.pruning.granularity == PruningGranularity::Block && !dense_inputs;
        let groups = if together { vec![halves.to_vec()] } else { halves.map(|part| vec![part]).to_vec() };
        let targets = plan.reconstruction.targets;
        // a matrix makes its local targets of its own inputs
        let own_targets = targets == WindowTargets::Local && granularity == Granularity::Matrix;
        Ok(Self {
            survey: plan.survey()?,
            granularity,
            groups,
            needs,
            calibrates: trains || needs != Needs::Nothing,
            dense_inputs,
            dense_stream: trains && !dense_inputs && !own_targets,
            targets,
        })
    }

    /// The steps of a window of so many blocks, in order.
    pub fn steps(&self, blocks: usize) -> Vec<Step> {
        match self.granularity {
            Granularity::None | Granularity::Matrix | Granularity::Submodule => self.half_by_half(),
            Granularity::Block | Granularity::Blocks(_) | Granularity::Model => self.together(blocks),
        }
    }

    /// Each half is finished before the next is trained.
    fn half_by_half(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for group in &self.groups {
            steps.push(Step::Prune(0, group.clone()));
            for &part in group {
                let half = (0, part);
                match self.granularity {
                    Granularity::None => {}
                    Granularity::Matrix => {
                        let roles = LinearRole::ALL.into_iter().filter(|role| role.part() == part);
                        steps.extend(roles.map(|role| Step::Reconstruct(Trained::Matrix(role))));
                        steps.extend(self.teach(half));
                    }
                    _ => {
                        steps.extend(self.restarts().then_some(Step::Restart));
                        steps.extend(self.teach(half));
                        steps.push(Step::Reconstruct(Trained::Halves(vec![half])));
                    }
                }
                steps.extend(self.calibrates.then_some(Step::Advance(half)));
            }
        }
        steps
    }

    /// Every half is pruned, in order, before all of them train.
    fn together(&self, blocks: usize) -> Vec<Step> {
        let mut steps: Vec<Step> = self.restarts().then_some(Step::Restart).into_iter().collect();
        let halves: Vec<Half> = (0..blocks).flat_map(|block| [(block, Part::Attention), (block, Part::Mlp)]).collect();
        // statistics of later halves are of what the earlier ones give; dense inputs have to arrive at the targets
        let previews = self.dense_inputs || self.needs != Needs::Nothing;
        for block in 0..blocks {
            for group in &self.groups {
                steps.push(Step::Prune(block, group.clone()));
                for half in group.iter().map(|&part| (block, part)) {
                    steps.extend(self.teach(half));
                    let last = halves.last() == Some(&half) || block + 1 == blocks && group.len() == 2;
                    steps.extend((previews && !last).then_some(Step::Preview(half)));
                }
            }
        }
        steps.push(Step::Reconstruct(Trained::Halves(halves.clone())));
        let arrived = if self.dense_inputs { halves.len() - 1 } else { 0 };
        steps.extend(halves[arrived..].iter().map(|&half| Step::Advance(half)));
        steps
    }

    /// Whether targets begin anew with each window.
    pub fn restarts(&self) -> bool {
        self.dense_stream && self.targets == WindowTargets::Local
    }

    fn teach(&self, half: Half) -> Option<Step> {
        self.dense_stream.then_some(Step::Teach(half))
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, Step, Trained};
    use crate::calibration::Needs;
    use crate::model::Part::{Attention, Mlp};
    use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, PruningPlan, Ratios, Rule, WindowTargets};
    use crate::sparsity::Extent;

    #[test]
    fn default_repairs_each_half_before_the_next_is_pruned() {
        let schedule = Schedule::new(&Plan::default()).expect("valid");
        let half = |part| {
            let train = Step::Reconstruct(Trained::Halves(vec![(0, part)]));
            [Step::Prune(0, vec![part]), Step::Teach((0, part)), train, Step::Advance((0, part))]
        };
        assert_eq!(schedule.steps(1), [half(Attention), half(Mlp)].concat());
        assert!(schedule.dense_stream && schedule.calibrates);
    }

    #[test]
    fn magnitude_alone_runs_no_calibration() {
        let mut plan = Plan::default();
        plan.pruning.criterion = "magnitude".into();
        plan.pruning.compensation = "none".into();
        plan.reconstruction.granularity = Granularity::None;
        let schedule = Schedule::new(&plan).expect("valid");
        assert!(!schedule.calibrates && !schedule.dense_stream);
        assert_eq!(schedule.steps(1), [Step::Prune(0, vec![Attention]), Step::Prune(0, vec![Mlp])]);
    }

    #[test]
    fn shares_that_depend_on_other_matrices_are_surveyed_first() {
        let survey = |change: &dyn Fn(&mut PruningPlan)| {
            let mut plan = Plan::default();
            change(&mut plan.pruning);
            Schedule::new(&plan).expect("valid").survey
        };
        let rule = |scope| Rule { matrices: "mlp".into(), sparsity: Some(0.3), scope, ..Rule::default() };
        assert_eq!(survey(&|_| {}), None);
        assert_eq!(survey(&|pruning| pruning.scope = Some(Extent::Matrix)), None);
        assert_eq!(survey(&|pruning| pruning.scope = Some(Extent::Model)), Some(Needs::ColumnNorms));
        assert_eq!(survey(&|pruning| pruning.rules = vec![rule(Some(Extent::Block))]), Some(Needs::ColumnNorms));
        let magnitude = |pruning: &mut PruningPlan| {
            (pruning.criterion, pruning.scope) = ("magnitude".into(), Some(Extent::Block));
            pruning.rules = vec![rule(None)];
        };
        assert_eq!(survey(&magnitude), Some(Needs::Nothing));
        let owl = |pruning: &mut PruningPlan| (pruning.criterion, pruning.ratios) = ("magnitude".into(), Ratios::Owl);
        assert_eq!(survey(&owl), Some(Needs::ColumnNorms));
    }

    #[test]
    fn block_granularity_prunes_both_halves_from_one_pass_unless_inputs_are_dense() {
        let mut plan = Plan::default();
        plan.pruning.granularity = PruningGranularity::Block;
        assert_eq!(Schedule::new(&plan).expect("valid").steps(1)[0], Step::Prune(0, vec![Attention, Mlp]));
        plan.calibration.inputs = Inputs::Dense;
        let schedule = Schedule::new(&plan).expect("valid");
        assert_eq!(schedule.steps(1)[0], Step::Prune(0, vec![Attention]));
        assert!(!schedule.dense_stream);
    }

    #[test]
    fn a_window_of_blocks_is_pruned_in_order_then_trained_then_left() {
        let mut plan = Plan::default();
        plan.reconstruction.granularity = Granularity::Blocks(2);
        let schedule = Schedule::new(&plan).expect("valid");
        let halves = vec![(0, Attention), (0, Mlp), (1, Attention), (1, Mlp)];
        let prune = |&(block, part): &(usize, _)| {
            let half = (block, part);
            [Step::Prune(block, vec![part]), Step::Teach(half), Step::Preview(half)]
        };
        let mut expected: Vec<Step> = halves.iter().flat_map(prune).collect();
        expected.pop();
        expected.push(Step::Reconstruct(Trained::Halves(halves.clone())));
        expected.extend(halves.iter().map(|&half| Step::Advance(half)));
        assert_eq!(schedule.steps(2), expected);
        plan.calibration.inputs = Inputs::Dense;
        let steps = Schedule::new(&plan).expect("valid").steps(2);
        assert!(!steps.iter().any(|step| matches!(step, Step::Teach(_) | Step::Restart)));
        assert_eq!(steps.last(), Some(&Step::Advance((1, Mlp))));
        assert_eq!(steps.iter().filter(|step| matches!(step, Step::Advance(_))).count(), 1, "the inputs have arrived");
    }

    #[test]
    fn local_targets_begin_with_each_window() {
        let mut plan = Plan::default();
        plan.reconstruction.targets = WindowTargets::Local;
        let restarts = |plan: &Plan| {
            let steps = Schedule::new(plan).expect("valid").steps(1);
            steps.iter().filter(|step| **step == Step::Restart).count()
        };
        assert_eq!(restarts(&plan), 2);
        plan.reconstruction.granularity = Granularity::Block;
        assert_eq!(restarts(&plan), 1);
        plan.reconstruction.granularity = Granularity::Matrix;
        assert_eq!(restarts(&plan), 0);
        assert!(!Schedule::new(&plan).expect("valid").dense_stream);
    }
}
