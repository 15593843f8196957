//! How a solution came about.

use super::{DAMPING, LayerProblem};
use crate::linalg::{Gram, InverseHessian};

/// How a solution came about, for the report.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct SolutionFacts {
    /// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖²` with the pruned weights zeroed and nothing else moved.
    pub error_pruned: Option<f64>,
    /// The same after compensation.
    pub error_compensated: Option<f64>,
    /// The error of the masked weights on inputs held out, where γ was found by those.
    pub held_out_pruned: Option<f64>,
    /// The same after compensation.
    pub held_out_compensated: Option<f64>,
    /// γ added to the diagonal of `H = 2XᵀX`.
    pub damping: Option<f64>,
    /// Iterations of the solver.
    pub iterations: Option<usize>,
    /// Swaps that refined the mask.
    pub swaps: Option<usize>,
    /// What went wrong and what was done instead.
    pub warning: Option<String>,
}

impl SolutionFacts {
    /// The inverse Hessian of a problem, and a note of its damping; a warning where there is none.
    pub(super) fn inverse_of<'a>(&mut self, problem: &LayerProblem<'a>) -> Option<&'a InverseHessian> {
        let Some(inverse) = &problem.inputs.inverse else {
            self.damping_of(problem)?;
            self.warn("the Hessian of this layer has no inverse, however much it is damped".into());
            return None;
        };
        self.damping = Some(2.0 * inverse.damping());
        if inverse.attempts() > 1 {
            let attempts = inverse.attempts();
            self.warn(format!(
                "the Hessian was positive definite only at γ = {:e}, at attempt {attempts}",
                2.0 * inverse.damping()
            ));
        }
        Some(inverse)
    }

    /// The Gram matrix of a problem and what is added to its diagonal, and a note of it; a warning where there is nothing to work with.
    pub(super) fn damping_of<'a>(&mut self, problem: &LayerProblem<'a>) -> Option<(&'a Gram, f64)> {
        let gram = self.gram_of(problem)?;
        let damping = problem
            .inputs
            .inverse
            .as_ref()
            .map_or(problem.settings.damping.unwrap_or(DAMPING) * gram.mean_diagonal(), InverseHessian::damping);
        if !(gram.mean_diagonal() > 0.0 && damping.is_finite()) {
            self.warn(format!("the inputs of this layer sum to {} squared", gram.mean_diagonal()));
            return None;
        }
        self.damping = Some(2.0 * damping);
        Some((gram, damping))
    }

    /// The Gram matrix of a problem; a warning where there is none.
    pub(super) fn gram_of<'a>(&mut self, problem: &LayerProblem<'a>) -> Option<&'a Gram> {
        if problem.inputs.gram.is_none() {
            self.warn("no calibration data reached this layer".into());
        }
        problem.inputs.gram.as_ref()
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, warning: String) {
        self.warning = Some(match self.warning.take() {
            Some(before) if before.contains(&warning) => before,
            Some(before) => format!("{before}; {warning}"),
            None => warning,
        });
    }
}
