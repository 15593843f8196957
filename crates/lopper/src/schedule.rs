//! Plan and model → what happens to each block, in order. Pure: `explain` prints it, `prune` obeys it.

use crate::calibration::Needs;
use crate::error::Result;
use crate::model::Part;
use crate::plan::{Granularity, Inputs, Plan, PruningGranularity};

/// Tokens per forward pass: enough to fill the kernels, few enough for the caches.
pub(crate) const BATCH_TOKENS: usize = 1024;

/// One step of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Show the dense weights of these halves the calibration data, then prune and repair their matrices.
    Prune(Vec<Part>),
    /// Train what is kept of this half against the dense model.
    Reconstruct(Part),
    /// Move the hidden states through this half.
    Advance(Part),
}

/// What happens to every block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What a pass over the dense model collects before the first block; `None` where every share is known beforehand.
    pub survey: Option<Needs>,
    /// In this order, for each block.
    pub steps: Vec<Step>,
    /// What the method wants to know of a layer's inputs.
    pub needs: Needs,
    /// Whether hidden states are needed at all.
    pub calibrates: bool,
    /// Whether the dense model's hidden states run beside those of the pruned one.
    pub dense_stream: bool,
}

impl Schedule {
    /// The schedule of a plan.
    ///
    /// # Errors
    /// If the plan names an unknown method.
    pub fn new(plan: &Plan) -> Result<Self> {
        let trains = plan.reconstruction.granularity != Granularity::None;
        let refinement = if plan.pruning.swaps > 0 { Needs::Gram } else { Needs::Nothing };
        let needs = plan.method()?.needs().max(refinement);
        let calibrates = trains || needs != Needs::Nothing;
        let halves = [Part::Attention, Part::Mlp];
        // inputs of the dense model do not change by pruning: the finer order costs nothing and gives the targets
        let together =
            plan.pruning.granularity == PruningGranularity::Block && plan.calibration.inputs == Inputs::Pruned;
        let groups: Vec<Vec<Part>> =
            if together { vec![halves.to_vec()] } else { halves.map(|part| vec![part]).to_vec() };
        let mut steps = Vec::new();
        for group in groups {
            steps.push(Step::Prune(group.clone()));
            for part in group {
                steps.extend(trains.then_some(Step::Reconstruct(part)));
                steps.extend(calibrates.then_some(Step::Advance(part)));
            }
        }
        let dense_stream = trains && plan.calibration.inputs == Inputs::Pruned;
        Ok(Self { survey: plan.survey()?, steps, needs, calibrates, dense_stream })
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, Step};
    use crate::calibration::Needs;
    use crate::model::Part::{Attention, Mlp};
    use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, PruningPlan, Ratios, Rule};
    use crate::sparsity::Extent;

    #[test]
    fn default_repairs_each_half_before_the_next_is_pruned() {
        let schedule = Schedule::new(&Plan::default()).expect("valid");
        let half = |part| [Step::Prune(vec![part]), Step::Reconstruct(part), Step::Advance(part)];
        assert_eq!(schedule.steps, [half(Attention), half(Mlp)].concat());
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
        assert_eq!(schedule.steps, [Step::Prune(vec![Attention]), Step::Prune(vec![Mlp])]);
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
        assert_eq!(Schedule::new(&plan).expect("valid").steps[0], Step::Prune(vec![Attention, Mlp]));
        plan.calibration.inputs = Inputs::Dense;
        let schedule = Schedule::new(&plan).expect("valid");
        assert_eq!(schedule.steps[0], Step::Prune(vec![Attention]));
        assert!(!schedule.dense_stream);
    }
}
