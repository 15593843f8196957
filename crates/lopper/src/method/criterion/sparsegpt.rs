//! `W_ij² / U_jj²`, U the upper Cholesky factor of H⁻¹, chosen block by block while the sweep updates W
//! (Frantar & Alistarh 2023, arXiv 2301.00774).
//!
//! The reference code prunes what is at or below the threshold of a block of 128 columns, which can be more than was asked for; here
//! counts are exact. It also sets the weights of dead inputs to zero whether they are pruned or not.

use crate::linalg::InverseHessian;
use crate::method::LayerProblem;

/// `1 / U_jj²`; 0 for a dead input.
pub(in crate::method) fn importance(problem: &LayerProblem, inverse: &InverseHessian) -> Vec<f32> {
    let (n, upper) = (inverse.order(), inverse.upper().host());
    let live = problem.inputs.squares.host().iter().map(|square| if *square > 0.0 { 1.0 } else { 0.0 });
    (0..n).zip(live).map(|(j, live)| live / (upper[j * n + j] * upper[j * n + j])).collect()
}
