//! How a method chooses what it prunes: by scores, all at once, or in the course of a walk over the matrix.

use std::sync::Arc;

use super::LayerProblem;
use super::criterion::{Criterion, NamedCriterion, obs, sparsegpt};
use super::walk::{Choice, Moving};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::linalg::InverseHessian;
use crate::sparsity::{Pattern, Scope};
use crate::tensor::Tensor;

/// When a selection by the inverse Hessian chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Everything at once, from the dense weights.
    Whole,
    /// A block of columns at a time, from weights compensated for what was pruned before.
    Blocks,
}

/// How a method chooses what it prunes.
#[derive(Clone)]
pub enum Selection {
    /// By the scores of a criterion, all weights at once.
    Scores(Arc<dyn Criterion>),
    /// By the saliency `w² / [H⁻¹]_jj` of a weight removed alone (`obs`).
    Saliency(Order),
    /// By `w² / U_jj²`, block by block while the sweep moves the rest (`sparsegpt`).
    Sweep,
    /// By subsets of each group of N:M whose joint removal costs least (`mrp`).
    Subset(Order),
}

impl Selection {
    /// That of a criterion by name, in its own order if none is given.
    ///
    /// # Errors
    /// If there is none of that name, or it cannot choose in this order.
    pub fn by_name(name: &str, order: Option<Order>) -> Result<Self> {
        NamedCriterion::by_name(name)?.selection(order)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Scores(criterion) => criterion.name(),
            Self::Saliency(_) => "obs",
            Self::Sweep => "sparsegpt",
            Self::Subset(_) => "mrp",
        }
    }

    /// What it wants to know of the inputs.
    pub fn needs(&self) -> Needs {
        match self {
            Self::Scores(criterion) => criterion.needs(),
            Self::Saliency(_) | Self::Sweep | Self::Subset(_) => Needs::InverseHessian,
        }
    }

    /// Where its source compares weights.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Scores(criterion) => criterion.scope(),
            Self::Saliency(_) | Self::Subset(_) => Scope::Row,
            Self::Sweep => Scope::Matrix,
        }
    }

    /// Floating-point operations of the choice for a weight of this shape, [d_out, d_in]; what moves in a walk is not counted.
    pub fn cost(&self, [d_out, d_in]: [usize; 2]) -> f64 {
        match self {
            Self::Scores(criterion) => criterion.cost([d_out, d_in]),
            Self::Saliency(_) | Self::Sweep | Self::Subset(_) => d_out as f64 * d_in as f64,
        }
    }

    /// Whether it has a score for every weight before anything moves, so that scores can be compared across matrices.
    pub fn is_static(&self) -> bool {
        matches!(self, Self::Scores(_) | Self::Saliency(_))
    }

    /// Whether it can choose for this pattern.
    ///
    /// # Errors
    /// Saying what can.
    pub fn check(&self, pattern: &Pattern) -> Result<()> {
        match (self, pattern) {
            (Self::Subset(_), Pattern::Unstructured { .. }) => Err(Error::Plan {
                problem: "criterion \"mrp\" chooses subsets of N:M groups".into(),
                hint: Some("give an N:M pattern, or take \"obs\" (Solution S) for unstructured sparsity".into()),
            }),
            (Self::Subset(_) | Self::Sweep, pattern) if pattern.is_whole() => Err(Error::Plan {
                problem: format!("criterion {:?} chooses single weights, not whole neurons", self.name()),
                hint: Some("take \"obs\", or a criterion whose scores can be summed, such as \"wanda\"".into()),
            }),
            _ => Ok(()),
        }
    }

    /// Scores [d_out, d_in] of all weights at once. `None` if it has none: it chooses while weights move, or what it needs is not
    /// known of the inputs.
    pub fn scores(&self, problem: &LayerProblem) -> Option<Tensor> {
        match self {
            Self::Scores(criterion) => problem.inputs.answer(criterion.needs()).then(|| criterion.scores(problem)),
            Self::Saliency(_) => Some(obs::scores(problem, problem.inputs.inverse.as_ref()?)),
            Self::Sweep | Self::Subset(_) => None,
        }
    }

    /// How it chooses in the course of a walk, and what moves meanwhile if `moving` moves afterwards; `None` if it scores all weights
    /// at once.
    pub(super) fn walk(
        &self,
        problem: &LayerProblem,
        inverse: &InverseHessian,
        moving: Moving,
    ) -> Option<(Choice<'static>, Moving)> {
        match self {
            Self::Scores(_) | Self::Saliency(Order::Whole) => None,
            Self::Saliency(Order::Blocks) => {
                let importance = if moving == Moving::Sweep {
                    obs::importance_of_rest(problem, inverse)
                } else {
                    obs::importance(problem, inverse)
                };
                Some((Choice::Saliency(importance), moving))
            }
            Self::Sweep => Some((Choice::Saliency(sparsegpt::importance(problem, inverse)), Moving::Sweep)),
            Self::Subset(Order::Whole) => Some((Choice::Subset, Moving::Nothing)),
            Self::Subset(Order::Blocks) => Some((Choice::Subset, moving)),
        }
    }
}
