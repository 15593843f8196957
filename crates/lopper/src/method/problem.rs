//! A layer problem, how hard it is tried to solve it, and its solution.

use rayon::prelude::*;

use super::SolutionFacts;
use crate::calibration::InputStatistics;
use crate::error::Result;
use crate::sparsity::{Mask, Pattern};
use crate::tensor::{Tensor, misfit};

/// Minimise `‖(W − Ŵ)Xᵀ‖²_F` over Ŵ whose zeros obey `pattern`.
pub struct LayerProblem<'a> {
    /// W [d_out, d_in].
    pub weight: &'a Tensor,
    /// What is known of X.
    pub inputs: &'a InputStatistics,
    /// Which zeros are asked for.
    pub pattern: &'a Pattern,
    /// For criteria that draw; different for every layer.
    pub seed: u64,
    /// How hard to try.
    pub settings: SolverSettings,
}

impl LayerProblem<'_> {
    /// d_in.
    pub fn columns(&self) -> usize {
        self.weight.width()
    }

    /// d_out.
    pub fn rows(&self) -> usize {
        self.weight.len() / self.columns().max(1)
    }

    /// Scores [d_out, d_in]: what `of` makes of each weight and the input that it belongs to.
    pub fn score(&self, of: impl Fn(f32, usize) -> f32 + Sync) -> Tensor {
        let n = self.columns().max(1);
        Tensor::filled(self.weight.shape(), |scores| {
            let rows = scores.par_chunks_exact_mut(n).zip(self.weight.host().par_chunks_exact(n));
            rows.for_each(|(scores, row)| {
                scores.iter_mut().zip(row).enumerate().for_each(|(input, (score, &w))| *score = of(w, input));
            });
        })
    }

    /// That its parts fit together.
    pub(super) fn check(&self) -> Result<()> {
        let [d_out, d_in] = self.weight.matrix()?;
        let seen = self.inputs.squares.len();
        if self.weight.is_empty() || seen != d_in {
            return Err(misfit(format!("a weight [{d_out}, {d_in}] with statistics of {seen} inputs")));
        }
        if !self.pattern.fits(d_in) {
            return Err(misfit(format!("the pattern {} does not divide the {d_in} inputs of a weight", self.pattern)));
        }
        Ok(())
    }
}

/// γ as a share of the mean diagonal, where nothing tells a better one: that of the papers.
pub const DAMPING: f64 = 0.01;

/// How a layer problem is solved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolverSettings {
    /// γ on the diagonal of H, as a share of its mean. `None`: [`DAMPING`], but where the joint compensation knows inputs held out, the γ
    /// that serves those best.
    pub damping: Option<f64>,
    /// At most so many conjugate-gradient iterations.
    pub iterations: usize,
    /// Columns that a walk over the matrix takes at a time; 0 is taken as 1.
    pub column_block: usize,
    /// At most so many swaps per row that refine a mask.
    pub swaps: usize,
}

impl Default for SolverSettings {
    fn default() -> Self {
        Self { damping: None, iterations: 20, column_block: 128, swaps: 0 }
    }
}

/// A pruned weight.
pub struct LayerSolution {
    /// Ŵ [d_out, d_in]; zero wherever the mask prunes.
    pub weight: Tensor,
    /// What is kept.
    pub mask: Mask,
    /// How it came about.
    pub facts: SolutionFacts,
}

impl LayerSolution {
    /// Throws the compensation of `weight` away, for this reason; the mask stays.
    pub(crate) fn undo(&mut self, weight: &Tensor, reason: &str) {
        self.weight = self.mask.apply(weight.clone());
        (self.facts.error_compensated, self.facts.held_out_compensated, self.facts.damping) = (None, None, None);
        self.facts.warn(reason.into());
    }
}

/// Weights of a matrix that are worked on at a time: what that takes does not grow with the matrix beyond it.
pub(crate) const SLAB: usize = 64 << 20;

/// As many weights, in whole rows of so many.
pub(super) fn slab(columns: usize) -> usize {
    (SLAB / columns.max(1)).max(1) * columns.max(1)
}
