//! A layer problem in, a layer solution out: criteria choose, compensations repair.

pub mod compensation;
pub mod criterion;
mod facts;
mod groups;
mod named;
mod output_error;
mod refinement;
mod walk;

use crate::calibration::{InputStatistics, Needs};
use crate::sparsity::{Mask, Pattern};
use compensation::Compensation;
use criterion::Criterion;
use refinement::refine;
use walk::{Moving, walk};

pub use facts::SolutionFacts;
pub use named::{METHODS, NamedMethod};
pub use output_error::OutputError;

/// Minimise `‖(W − Ŵ)Xᵀ‖²_F` over Ŵ whose zeros obey `pattern`.
pub struct LayerProblem<'a> {
    /// W, row-major [d_out, d_in].
    pub weight: &'a [f32],
    /// d_in.
    pub columns: usize,
    /// What is known of X.
    pub inputs: &'a InputStatistics,
    /// Which zeros are asked for.
    pub pattern: &'a Pattern,
    /// For criteria that draw; different for every layer.
    pub seed: u64,
    /// How hard to try.
    pub settings: SolverSettings,
}

/// How a layer problem is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolverSettings {
    /// γ on the diagonal of H, as a share of its mean.
    pub damping: f64,
    /// At most so many conjugate-gradient iterations.
    pub iterations: usize,
    /// Columns that a walk over the matrix takes at a time.
    pub column_block: usize,
    /// At most so many swaps per row that refine a mask.
    pub swaps: usize,
}

impl Default for SolverSettings {
    fn default() -> Self {
        Self { damping: 0.01, iterations: 20, column_block: 128, swaps: 0 }
    }
}

/// Weights of a matrix that are worked on at a time: what that takes does not grow with the matrix beyond it.
pub(crate) const SLAB: usize = 64 << 20;

/// As many weights, in whole rows of so many.
pub(crate) fn slab(columns: usize) -> usize {
    (SLAB / columns.max(1)).max(1) * columns.max(1)
}

/// A pruned weight.
pub struct LayerSolution {
    /// Ŵ, row-major [d_out, d_in]; zero wherever the mask prunes.
    pub weight: Vec<f32>,
    /// What is kept.
    pub mask: Mask,
    /// How it came about.
    pub facts: SolutionFacts,
}

/// When a criterion that goes by the inverse Hessian chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Everything at once, from the dense weights.
    Whole,
    /// A block of columns at a time, from weights compensated for what was pruned before.
    Blocks,
}

/// A criterion, then a compensation; or both block by block.
pub struct SelectThenRepair {
    /// Chooses the mask.
    pub criterion: Criterion,
    /// Moves the kept weights.
    pub compensation: Compensation,
    /// When the criterion chooses; its own way if absent.
    pub order: Option<Order>,
}

impl SelectThenRepair {
    /// What both want to know. Refinement needs the Gram matrix too, which the caller adds.
    pub fn needs(&self) -> Needs {
        self.criterion.needs().max(self.compensation.needs())
    }

    /// Solves one layer. A compensation that is not finite, or worse than masking, is thrown away and the facts say so.
    pub fn solve(&self, problem: &LayerProblem) -> LayerSolution {
        let (mask, repaired, mut facts) = self.choose_and_repair(problem);
        let error = problem.inputs.gram.as_ref().map(|gram| OutputError::new(problem.weight, gram));
        let relative = |candidate: &[f32]| error.as_ref().map(|error| error.relative(candidate));
        let mut masked = problem.weight.to_vec();
        lopper_kernels::apply_mask(&mut masked, mask.as_slice());
        facts.error_pruned = relative(&masked);
        let Some(repaired) = repaired else {
            return LayerSolution { weight: masked, mask, facts };
        };
        let after = relative(&repaired);
        if repaired.iter().all(|w| w.is_finite()) && after.zip(facts.error_pruned).is_none_or(|(a, b)| a <= b) {
            facts.error_compensated = after;
            return LayerSolution { weight: repaired, mask, facts };
        }
        facts.warn(format!("compensation gave the error {after:?} and was thrown away: mask only"));
        LayerSolution { weight: masked, mask, facts }
    }

    /// The mask, and the weights [d_out, d_in] that a compensation has moved, zero wherever the mask prunes: what [`Self::solve`] does
    /// before it judges the result.
    pub fn choose_and_repair(&self, problem: &LayerProblem) -> (Mask, Option<Vec<f32>>, SolutionFacts) {
        let mut facts = SolutionFacts::default();
        let (mut mask, mut walked) = self.select(problem, &mut facts);
        if let Some(gram) = problem.inputs.gram.as_ref().filter(|_| problem.settings.swaps > 0) {
            let (refined, swaps) = refine(problem, gram, &mask, problem.settings.swaps);
            (mask, walked, facts.swaps) = (refined, walked.filter(|_| swaps == 0), Some(swaps));
        }
        let repaired = walked.or_else(|| self.compensation.repair(problem, &mask, &mut facts));
        (mask, repaired, facts)
    }

    /// The mask, and the weights that a sweep has moved meanwhile if that is the compensation asked for.
    fn select(&self, problem: &LayerProblem, facts: &mut SolutionFacts) -> (Mask, Option<Vec<f32>>) {
        let from_scores = |scores: &[f32]| Mask::from_scores(scores, problem.columns, problem.pattern);
        if self.criterion.needs() < Needs::InverseHessian {
            let scores = self.criterion.scores(problem).expect("only what goes by the inverse Hessian has no scores");
            return (from_scores(&scores), None);
        }
        let Some(inverse) = facts.inverse_of(problem) else {
            facts.warn("pruned by |w|·‖x‖ instead".into());
            return (from_scores(&criterion::fallback(problem)), None);
        };
        let Some((choice, moving)) = self.criterion.walk(problem, inverse, self.order, self.compensation.moving())
        else {
            return (from_scores(&self.criterion.scores(problem).unwrap_or_default()), None);
        };
        let walked = walk(problem, inverse, &choice, moving);
        let swept = moving == Moving::Sweep && self.compensation.moving() == Moving::Sweep;
        (Mask::new(problem.columns, walked.kept), swept.then_some(walked.weight))
    }
}
