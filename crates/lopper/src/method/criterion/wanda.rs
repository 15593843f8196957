//! `|W_ij| · ‖X_j‖₂` (Sun et al. 2023, arXiv 2306.11695, eq. 1).
//!
//! The reference code divides ‖X_j‖² by the number of samples, which changes no order; here the sum is taken as it is.

use crate::method::LayerProblem;

pub(super) fn scores(problem: &LayerProblem) -> Vec<f32> {
    let norms: Vec<f32> = problem.inputs.squares.iter().map(|square| square.sqrt() as f32).collect();
    let row = |row: &[f32]| row.iter().zip(&norms).map(|(w, norm)| w.abs() * norm).collect::<Vec<_>>();
    problem.weight.chunks_exact(problem.columns).flat_map(row).collect()
}
