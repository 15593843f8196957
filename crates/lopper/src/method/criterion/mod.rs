//! Criteria: what to prune. One file per paper; this table is all that names them.

mod magnitude;
mod obs;
mod random;
mod ria;
mod sparsegpt;
mod wanda;

use super::walk::{Choice, Moving};
use super::{LayerProblem, Order};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::linalg::InverseHessian;
use crate::sparsity::{Pattern, Scope};

/// A way to choose what is pruned.
#[derive(Clone, Copy)]
pub struct Criterion {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Where its source compares scores.
    pub scope: Scope,
    needs: Needs,
    rule: Rule,
}

/// How a criterion chooses.
#[derive(Clone, Copy)]
enum Rule {
    /// By a score per weight.
    Scores(fn(&LayerProblem) -> Vec<f32>),
    /// By the inverse Hessian: saliencies, of all weights at once or in the course of a walk.
    Saliency,
    /// By the inverse Hessian, in the course of a sweep.
    Sweep,
    /// By the inverse Hessian, a group of N:M at a time.
    Subset,
}

/// Every criterion this program knows.
pub const CRITERIA: &[Criterion] = &[
    Criterion {
        name: "wanda",
        summary: "|w|·‖x‖ of its input, compared within a row (Sun et al. 2023)",
        scope: Scope::Row,
        needs: Needs::ColumnNorms,
        rule: Rule::Scores(wanda::scores),
    },
    Criterion {
        name: "magnitude",
        summary: "|w|, compared within the matrix; needs no calibration",
        scope: Scope::Matrix,
        needs: Needs::Nothing,
        rule: Rule::Scores(magnitude::scores),
    },
    Criterion {
        name: "ria",
        summary: "|w| relative to its row and column, times ‖x‖^½ (Zhang et al. 2024)",
        scope: Scope::Row,
        needs: Needs::ColumnNorms,
        rule: Rule::Scores(ria::scores),
    },
    Criterion {
        name: "obs",
        summary: "w²/[H⁻¹]_jj: removed alone, all others free to move (Hassibi & Stork 1993; Solution S of Zhao et al. 2024)",
        scope: Scope::Row,
        needs: Needs::InverseHessian,
        rule: Rule::Saliency,
    },
    Criterion {
        name: "sparsegpt",
        summary: "w²/U_jj², chosen block by block while the sweep moves the rest (Frantar & Alistarh 2023)",
        scope: Scope::Matrix,
        needs: Needs::InverseHessian,
        rule: Rule::Sweep,
    },
    Criterion {
        name: "mrp",
        summary: "N:M only: the subset of each group whose joint removal costs least (Solution M of Zhao et al. 2024)",
        scope: Scope::Row,
        needs: Needs::InverseHessian,
        rule: Rule::Subset,
    },
    Criterion {
        name: "random",
        summary: "seeded noise: the control",
        scope: Scope::Row,
        needs: Needs::Nothing,
        rule: Rule::Scores(random::scores),
    },
];

impl Criterion {
    /// By name.
    ///
    /// # Errors
    /// If there is none of that name; the hint lists them.
    pub fn by_name(name: &str) -> Result<Self> {
        CRITERIA.iter().find(|criterion| criterion.name == name).copied().ok_or_else(|| Error::Plan {
            problem: format!("there is no criterion {name:?}"),
            hint: Some(format!(
                "known: {}",
                CRITERIA.iter().map(|criterion| criterion.name).collect::<Vec<_>>().join(", ")
            )),
        })
    }

    /// What it wants to know of the inputs.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Scores [d_out, d_in], row-major, of all weights at once. `None` if it has none: it chooses while weights move, or the inverse
    /// Hessian that it needs does not exist.
    pub fn scores(&self, problem: &LayerProblem) -> Option<Vec<f32>> {
        match self.rule {
            Rule::Scores(scores) => Some(scores(problem)),
            Rule::Saliency => obs::scores(problem),
            Rule::Sweep | Rule::Subset => None,
        }
    }

    /// Whether it has a score for every weight before anything moves, so that scores can be compared across matrices.
    pub fn is_static(&self) -> bool {
        matches!(self.rule, Rule::Scores(_) | Rule::Saliency)
    }

    /// Whether it can choose in this order, and for this pattern.
    ///
    /// # Errors
    /// Saying what it can do instead.
    pub fn check(&self, pattern: &Pattern, order: Option<Order>) -> Result<()> {
        let refuse = |problem: String, hint: &str| Err(Error::Plan { problem, hint: Some(hint.into()) });
        match (self.rule, order, pattern) {
            (Rule::Subset, _, Pattern::Unstructured { .. }) => refuse(
                "criterion \"mrp\" chooses subsets of N:M groups".into(),
                "give an N:M pattern, or take \"obs\" (Solution S) for unstructured sparsity",
            ),
            (Rule::Scores(_), Some(Order::Blocks), _) => refuse(
                format!("criterion {:?} scores all weights at once and cannot choose block by block", self.name),
                "leave out the order, or take obs, sparsegpt or mrp",
            ),
            (Rule::Sweep, Some(Order::Whole), _) => refuse(
                "criterion \"sparsegpt\" chooses block by block".into(),
                "leave out the order, or take \"obs\", which scores all weights at once",
            ),
            _ => Ok(()),
        }
    }

    /// How it chooses in the course of a walk, and what moves meanwhile if `moving` moves afterwards; `None` if it scores all weights
    /// at once.
    pub(super) fn walk(
        &self,
        problem: &LayerProblem,
        inverse: &InverseHessian,
        order: Option<Order>,
        moving: Moving,
    ) -> Option<(Choice<'static>, Moving)> {
        match (self.rule, order) {
            (Rule::Scores(_), _) | (Rule::Saliency, None | Some(Order::Whole)) => None,
            (Rule::Saliency, Some(Order::Blocks)) => {
                let importance = if moving == Moving::Sweep {
                    obs::importance_of_rest(problem, inverse)
                } else {
                    obs::importance(problem, inverse)
                };
                Some((Choice::Saliency(importance), moving))
            }
            (Rule::Sweep, _) => Some((Choice::Saliency(sparsegpt::importance(problem, inverse)), Moving::Sweep)),
            (Rule::Subset, Some(Order::Whole)) => Some((Choice::Subset, Moving::Nothing)),
            (Rule::Subset, _) => Some((Choice::Subset, moving)),
        }
    }
}

/// Scores for a layer whose Hessian has no inverse: those of Wanda.
pub(super) fn fallback(problem: &LayerProblem) -> Vec<f32> {
    wanda::scores(problem)
}
