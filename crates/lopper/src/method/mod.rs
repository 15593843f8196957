//! A layer problem in, a layer solution out: criteria choose, compensations repair.

pub mod compensation;
pub mod criterion;

use candle_core::{Device, Tensor};
use lopper_kernels::{Precision, View, matmul};

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

    /// Solves one layer. A compensation that is not finite, or worse than masking, is thrown away and the facts say so.
    pub fn solve(&self, problem: &LayerProblem) -> LayerSolution {
        let mask = Mask::from_scores(&self.criterion.scores(problem), problem.columns, problem.pattern);
        let error = problem.inputs.gram.as_ref().map(|gram| OutputError::new(problem.weight, gram));
        let relative = |candidate: &[f32]| error.as_ref().map(|error| error.relative(candidate));
        let mut masked = problem.weight.to_vec();
        lopper_kernels::apply_mask(&mut masked, mask.as_slice());
        let mut facts = SolutionFacts { error_pruned: relative(&masked), ..Default::default() };
        let Some(repaired) = self.compensation.repair(problem, &mask, &mut facts) else {
            return LayerSolution { weight: masked, mask, facts };
        };
        let after = relative(&repaired);
        if repaired.iter().all(|w| w.is_finite()) && after.zip(facts.error_pruned).is_none_or(|(a, b)| a <= b) {
            facts.error_compensated = after;
            return LayerSolution { weight: repaired, mask, facts };
        }
        facts.warning = Some(format!("compensation gave the error {after:?} and was thrown away: mask only"));
        LayerSolution { weight: masked, mask, facts }
    }
}

/// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖² = tr((W − Ŵ)G(W − Ŵ)ᵀ) / tr(WGWᵀ)` for any Ŵ.
pub struct OutputError<'a> {
    weight: &'a [f32],
    gram: Vec<f32>,
    order: usize,
    whole: f64,
}

impl<'a> OutputError<'a> {
    /// Of candidates for `weight` [d_out, d_in], G [d_in, d_in].
    pub fn new(weight: &'a [f32], gram: &Gram) -> Self {
        let (gram, order) = (gram.damped(0.0), gram.order());
        let whole = quadratic(weight, &gram, order);
        Self { weight, gram, order, whole }
    }

    /// The relative error of a candidate [d_out, d_in]; 0 where W itself gives nothing.
    pub fn relative(&self, candidate: &[f32]) -> f64 {
        let difference: Vec<f32> = self.weight.iter().zip(candidate).map(|(w, c)| w - c).collect();
        let error = quadratic(&difference, &self.gram, self.order);
        // rounding can make a tiny square negative; a NaN must stay one
        if self.whole > 0.0 { if error < 0.0 { 0.0 } else { error / self.whole } } else { 0.0 }
    }
}

/// `tr(W·G·Wᵀ)`.
fn quadratic(weight: &[f32], g: &[f32], n: usize) -> f64 {
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
