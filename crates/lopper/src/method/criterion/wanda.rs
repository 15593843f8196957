//! `|W_ij| · ‖X_j‖₂` (Sun et al. 2023, arXiv 2306.11695, eq. 1).
//!
//! The reference code divides ‖X_j‖² by the number of samples, which changes no order; here the sum is taken as it is.

use crate::calibration::Needs;
use crate::method::{Criterion, LayerProblem};
use crate::tensor::Tensor;

/// `|W_ij| · ‖X_j‖₂`
pub struct Wanda;

impl Criterion for Wanda {
    fn name(&self) -> &'static str {
        "wanda"
    }

    fn needs(&self) -> Needs {
        Needs::ColumnNorms
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        let norms: Vec<f32> = problem.inputs.squares.host().iter().map(|square| square.sqrt() as f32).collect();
        problem.score(|w, input| w.abs() * norms[input])
    }
}
