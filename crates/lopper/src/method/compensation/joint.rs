//! The exact optimum of the Multiple Removal Problem (Zhao et al. 2024, arXiv 2410.15567, eq. 11–13):
//! minimise `½ δHδᵀ` subject to `δ_P = −w_P`, with `H = 2XᵀX + γI`.
//!
//! The paper solves a system per row, O(d_out·k³); the same optimum is reached here for all rows at once by conjugate
//! gradients restricted to the mask.

use crate::linalg::masked_least_squares;
use crate::method::problem::slab;
use crate::method::{LayerProblem, SolutionFacts};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// The solver stops when the residual of every row has fallen this far.
const TOLERANCE: f64 = 1e-4;

pub(super) fn repair(problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Tensor> {
    let (gram, damping) = facts.damping_of(problem)?;
    // H/2 = XᵀX + (γ/2)I has the same optimum
    let h = gram.damped(damping);
    let mut repaired = Vec::with_capacity(problem.weight.len());
    let slab = slab(problem.columns());
    for (weight, kept) in problem.weight.host().chunks(slab).zip(mask.as_slice().chunks(slab)) {
        let solution = masked_least_squares(weight, None, kept, h.host(), problem.settings.iterations, TOLERANCE);
        facts.iterations = facts.iterations.max(Some(solution.iterations));
        repaired.extend(solution.weight);
    }
    Some(Tensor::new(problem.weight.shape(), repaired))
}
