//! A layer problem in, a layer solution out: criteria choose, compensations repair.
//!
//! A [`Method`] is a [`Selection`], which makes the mask, and a [`Compensation`], which moves what is kept. A criterion of one's own
//! is a [`Criterion`]; an example stands there.

pub mod compensation;
pub mod criterion;
mod facts;
mod greedy;
mod groups;
mod named;
mod output_error;
mod problem;
mod refinement;
mod refit;
mod selection;
mod walk;

use crate::calibration::Needs;
use crate::error::Result;
use crate::sparsity::{Mask, Pattern};
use crate::tensor::{Tensor, misfit};
use criterion::Wanda;
use refinement::refine;
use walk::{Moving, walk};

pub use compensation::Compensation;
pub(crate) use compensation::SHARES;
pub use criterion::Criterion;
pub use facts::SolutionFacts;
pub use named::{METHODS, NamedMethod};
pub use output_error::OutputError;
pub(crate) use problem::SLAB;
pub use problem::{DAMPING, LayerProblem, LayerSolution, SolverSettings};
pub use refit::{Moments, Refit, refit};
pub use selection::{Order, Selection};

/// A choice of what is pruned, then a compensation; or both block by block.
#[derive(Clone)]
pub struct Method {
    /// Makes the mask.
    pub selection: Selection,
    /// Moves the kept weights.
    pub compensation: Compensation,
}

impl Method {
    /// A criterion and a compensation by name. The criterion chooses in its own order if none is given.
    ///
    /// # Errors
    /// If a name is unknown, or the criterion cannot choose in this order.
    pub fn by_name(criterion: &str, compensation: &str, order: Option<Order>) -> Result<Self> {
        Ok(Self {
            selection: Selection::by_name(criterion, order)?,
            compensation: Compensation::by_name(compensation)?,
        })
    }

    /// What both want to know. Refinement needs the Gram matrix too, which the caller adds.
    pub fn needs(&self) -> Needs {
        self.selection.needs().max(self.compensation.needs())
    }

    /// Whether it makes use of inputs held out: then [`SolverSettings::damping`] may be left to it.
    pub fn judges(&self) -> bool {
        self.compensation.judges()
    }

    /// Solves one layer. A compensation that is not finite, or worse than masking, is thrown away and the facts say so.
    ///
    /// # Errors
    /// If weight, statistics and pattern do not fit together, the selection cannot choose by this pattern, or a criterion gives
    /// scores of another shape than the weight's.
    pub fn solve(&self, problem: &LayerProblem) -> Result<LayerSolution> {
        let (mask, repaired, mut facts) = self.choose_and_repair(problem)?;
        let error = problem.inputs.gram.as_ref().map(|gram| OutputError::new(problem.weight, gram));
        let relative = |candidate: &Tensor| error.as_ref().map(|error| error.relative(candidate));
        let masked = mask.apply(problem.weight.clone());
        facts.error_pruned = relative(&masked);
        let Some(repaired) = repaired else {
            return Ok(LayerSolution { weight: masked, mask, facts });
        };
        let after = relative(&repaired);
        if repaired.is_finite() && after.zip(facts.error_pruned).is_none_or(|(a, b)| a <= b) {
            facts.error_compensated = after;
            return Ok(LayerSolution { weight: repaired, mask, facts });
        }
        facts.held_out_compensated = None;
        facts.warn(format!("compensation gave the error {after:?} and was thrown away: mask only"));
        Ok(LayerSolution { weight: masked, mask, facts })
    }

    /// The mask, and the weights [d_out, d_in] that a compensation has moved, zero wherever the mask prunes: what [`Self::solve`] does
    /// before it judges the result.
    ///
    /// # Errors
    /// As [`Self::solve`].
    pub fn choose_and_repair(&self, problem: &LayerProblem) -> Result<(Mask, Option<Tensor>, SolutionFacts)> {
        problem.check()?;
        self.selection.check(problem.pattern)?;
        let mut facts = SolutionFacts::default();
        let (mut mask, mut walked) = self.select(problem, &mut facts)?;
        if let Some(gram) =
            problem.inputs.gram.as_ref().filter(|_| problem.settings.swaps > 0 && !problem.pattern.is_whole())
        {
            let (refined, swaps) = refine(problem, gram, &mask, problem.settings.swaps);
            (mask, walked, facts.swaps) = (refined, walked.filter(|_| swaps == 0), Some(swaps));
        }
        let repaired = walked.or_else(|| self.compensation.repair(problem, &mask, &mut facts));
        Ok((mask, repaired, facts))
    }

    /// The mask, and the weights that a sweep has moved meanwhile if that is the compensation asked for.
    fn select(&self, problem: &LayerProblem, facts: &mut SolutionFacts) -> Result<(Mask, Option<Tensor>)> {
        let asked = self.compensation.moving();
        let inverts = self.selection.needs() == Needs::InverseHessian;
        let inverse = if inverts { facts.inverse_of(problem) } else { None };
        if let (Some(inverse), &Pattern::Inputs { keep, unit, .. }) = (inverse, problem.pattern) {
            return Ok((Mask::of_inputs(&greedy::kept_inputs(problem, inverse, keep, unit), problem.rows()), None));
        }
        let way = inverse.and_then(|inverse| Some((inverse, self.selection.walk(problem, inverse, asked)?)));
        if let Some((inverse, (choice, moving))) = way {
            let (mask, weight) = walk(problem, inverse, &choice, moving);
            let swept = moving == Moving::Sweep && asked == Moving::Sweep;
            return Ok((mask, swept.then_some(weight)));
        }
        let scores = self.selection.scores(problem).unwrap_or_else(|| {
            facts.gram_of(problem);
            facts.warn("pruned by |w|·‖x‖ instead".into());
            Wanda.scores(problem)
        });
        if scores.shape() != problem.weight.shape() {
            let (name, weight) = (self.selection.name(), problem.weight.shape());
            return Err(misfit(format!("criterion {name:?} gave scores {:?} for a weight {weight:?}", scores.shape())));
        }
        Ok((Mask::from_scores(&scores, problem.pattern), None))
    }
}
