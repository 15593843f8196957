//! A layer problem in, a layer solution out: criteria choose, compensations repair.

pub mod compensation;
pub mod criterion;

use candle_core::{Device, Tensor};

use crate::autograd::read;
use crate::calibration::{InputStatistics, Needs};
use crate::error::Result;
use crate::linalg::Gram;
use crate::sparsity::{Mask, Pattern};
use compensation::Compensation;
use criterion::Criterion;

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

/// How a solution came about, for the report.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct SolutionFacts {
    /// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖²` with the pruned weights zeroed and nothing else moved.
    pub error_pruned: Option<f64>,
    /// The same after compensation.
    pub error_compensated: Option<f64>,
    /// γ added to the diagonal of `H = 2XᵀX`.
    pub damping: Option<f64>,
    /// Iterations of the solver.
    pub iterations: Option<usize>,
    /// What went wrong and what was done instead.
    pub warning: Option<String>,
}

/// A criterion, then a compensation.
pub struct SelectThenRepair {
    /// Chooses the mask.
    pub criterion: Criterion,
    /// Moves the kept weights.
    pub compensation: Compensation,
}

impl SelectThenRepair {
    /// What both want to know.
    pub fn needs(&self) -> Needs {
        self.criterion.needs().max(self.compensation.needs())
    }

    /// Solves one layer.
    pub fn solve(&self, problem: &LayerProblem) -> LayerSolution {
        let scores = self.criterion.scores(problem);
        let mask = Mask::from_scores(&scores, problem.columns, problem.pattern);
        drop(scores);
        let mut masked = problem.weight.to_vec();
        lopper_kernels::apply_mask(&mut masked, mask.as_slice());
        let mut facts = SolutionFacts { error_pruned: problem.relative_error(&masked), ..Default::default() };
        let weight = self.compensation.repair(problem, &mask, masked, &mut facts);
        LayerSolution { weight, mask, facts }
    }
}

impl LayerProblem<'_> {
    /// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖²` where the Gram matrix is known.
    pub fn relative_error(&self, candidate: &[f32]) -> Option<f64> {
        Some(relative_error(self.weight, candidate, self.inputs.gram.as_ref()?))
    }
}

/// `tr((W − Ŵ)G(W − Ŵ)ᵀ) / tr(WGWᵀ)`; 0 where the denominator is.
pub fn relative_error(weight: &[f32], candidate: &[f32], gram: &Gram) -> f64 {
    let g = gram.damped(0.0);
    let difference: Vec<f32> = weight.iter().zip(candidate).map(|(w, c)| w - c).collect();
    let [error, whole] = [&difference[..], weight].map(|w| quadratic(w, &g, gram.order()));
    if whole > 0.0 { error.max(0.0) / whole } else { 0.0 }
}

/// `tr(W·G·Wᵀ)`.
fn quadratic(weight: &[f32], g: &[f32], n: usize) -> f64 {
    use lopper_kernels::{Precision, View, matmul};
    let rows = weight.len() / n;
    let mut image = vec![0.0; weight.len()];
    matmul(&mut image, n, false, View::new(weight, rows, n), View::new(g, n, n), Precision::F32);
    weight.iter().zip(&image).map(|(&w, &i)| f64::from(w) * f64::from(i)).sum()
}

/// The data of a weight as a plain vector, from any device.
///
/// # Errors
/// If it is not f32.
pub fn to_vec(weight: &Tensor) -> Result<Vec<f32>> {
    let weight = weight.to_device(&Device::Cpu)?.contiguous()?;
    Ok(read([&weight], |[weight]| weight.to_vec())?)
}
