//! The exact optimum of the Multiple Removal Problem (Zhao et al. 2024, arXiv 2410.15567, eq. 11–13):
//! minimise `½ δHδᵀ` subject to `δ_P = −w_P`, with `H = 2XᵀX + γI`.
//!
//! The paper solves a system per row, O(d_out·k³); the same optimum is reached here for all rows at once by conjugate
//! gradients restricted to the mask.
//!
//! The paper sets γ to 1 % of the mean diagonal. Where there are few tokens for the inputs of a layer, the solution then fits these tokens,
//! and does worse than no compensation on others. So where there are inputs held out and no γ is asked for, it is the one whose solution
//! serves those best, found on a path from large to small: each solution is where the next begins.

use crate::linalg::{Gram, masked_least_squares};
use crate::method::problem::slab;
use crate::method::{LayerProblem, OutputError, SolutionFacts, SolverSettings};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// The solver stops when the residual of every row has fallen this far.
const TOLERANCE: f64 = 1e-4;
/// Shares of the mean diagonal that γ is looked for among, in this order.
pub(crate) const SHARES: [f64; 8] = [10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003];
/// Each of them takes one part in so many of the iterations, and stops when the residual has fallen this far: it begins near its end.
const PART: usize = 4;
const TOLERANCE_OF_PART: f64 = 1e-2;
/// So many of them are tried, where they are (measured: 4 to 6).
const TRIED: f64 = 5.0;

/// Products of the weight with a Gram matrix: one for each iteration, one to begin with, and one to judge the result by.
pub(super) fn products(_: usize, settings: &SolverSettings, judges: bool) -> f64 {
    if judges {
        return 1.0 + TRIED * (settings.iterations.div_ceil(PART) as f64 + 2.0);
    }
    settings.iterations as f64 + 1.0
}

pub(super) fn repair(problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Tensor> {
    let (gram, damping) = facts.damping_of(problem)?;
    match &problem.inputs.held_out {
        Some(held_out) if problem.settings.damping.is_none() => {
            Some(best_on_held_out(problem, mask, (gram, held_out), facts))
        }
        _ => Some(solve(problem, mask, None, (gram, damping), (problem.settings.iterations, TOLERANCE), facts)),
    }
}

/// The solution with `damping` on the diagonal of the Gram matrix. It starts from `start`, or from the masked weight.
fn solve(
    problem: &LayerProblem,
    mask: &Mask,
    start: Option<&Tensor>,
    (gram, damping): (&Gram, f64),
    (iterations, tolerance): (usize, f64),
    facts: &mut SolutionFacts,
) -> Tensor {
    // H/2 = XᵀX + (γ/2)I has the same optimum
    let h = gram.damped(damping);
    let mut repaired = Vec::with_capacity(problem.weight.len());
    let (slab, mut taken) = (slab(problem.columns()), 0);
    for (weight, kept) in problem.weight.host().chunks(slab).zip(mask.as_slice().chunks(slab)) {
        let start = start.map(|start| &start.host()[repaired.len()..repaired.len() + weight.len()]);
        let solution = masked_least_squares(weight, start, kept, h.host(), iterations, tolerance);
        taken = taken.max(solution.iterations);
        repaired.extend(solution.weight);
    }
    facts.iterations = Some(facts.iterations.unwrap_or(0) + taken);
    Tensor::new(problem.weight.shape(), repaired)
}

/// The solution on the path that errs least on inputs held out; the masked weight where none is better.
fn best_on_held_out(
    problem: &LayerProblem,
    mask: &Mask,
    (gram, held_out): (&Gram, &Gram),
    facts: &mut SolutionFacts,
) -> Tensor {
    let (error, mean) = (OutputError::new(problem.weight, held_out), gram.mean_diagonal());
    let mut best = mask.apply(problem.weight.clone());
    let mut least = error.relative(&best);
    (facts.held_out_pruned, facts.damping) = (Some(least), None);
    for share in SHARES {
        let limits = (problem.settings.iterations.div_ceil(PART), TOLERANCE_OF_PART);
        let candidate = solve(problem, mask, Some(&best), (gram, share * mean), limits, facts);
        let error = error.relative(&candidate);
        if error.is_nan() || error >= least {
            break;
        }
        (best, least, facts.damping) = (candidate, error, Some(2.0 * share * mean));
    }
    facts.held_out_compensated = Some(least);
    best
}
