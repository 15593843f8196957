//! `|W_ij|`: the oldest criterion, and still the one that needs nothing else.

use crate::calibration::Needs;
use crate::method::{Criterion, LayerProblem};
use crate::sparsity::Scope;
use crate::tensor::Tensor;

/// `|W_ij|`
pub struct Magnitude;

impl Criterion for Magnitude {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn scope(&self) -> Scope {
        Scope::Matrix
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        problem.score(|w, _| w.abs())
    }
}
