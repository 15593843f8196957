//! `W_ij² · Var(X_j)` (An et al. 2024, arXiv 2312.11983): what a weight adds to the output besides a constant, squared. Summed over a neuron
//! it is the paper's WIFV. Its repair, the mean of what is gone as a bias, is not made: a compensation moves the kept weights instead.

use crate::calibration::Needs;
use crate::method::{Criterion, LayerProblem};
use crate::tensor::Tensor;

/// `W_ij² · Var(X_j)`
pub struct Flap;

impl Criterion for Flap {
    fn name(&self) -> &'static str {
        "flap"
    }

    fn needs(&self) -> Needs {
        Needs::ColumnNorms
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        let tokens = problem.inputs.tokens.max(1) as f64;
        let moments = problem.inputs.squares.host().iter().zip(problem.inputs.sums.host());
        // rounding can make a variance of nothing negative
        let variances: Vec<f32> =
            moments.map(|(square, sum)| (square / tokens - (sum / tokens).powi(2)).max(0.0) as f32).collect();
        problem.score(|w, input| w * w * variances[input])
    }
}
