//! Criteria: a score per weight; the smallest are pruned. One file per paper; this table is all that names them.

mod magnitude;
mod random;
mod wanda;

use super::LayerProblem;
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::sparsity::Scope;

/// A way to score weights.
#[derive(Clone, Copy)]
pub struct Criterion {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Where its source compares scores.
    pub scope: Scope,
    needs: Needs,
    scores: fn(&LayerProblem) -> Vec<f32>,
}

/// Every criterion this program knows.
pub const CRITERIA: &[Criterion] = &[
    Criterion {
        name: "wanda",
        summary: "|w|·‖x‖ of its input, compared within a row (Sun et al. 2023)",
        scope: Scope::Row,
        needs: Needs::ColumnNorms,
        scores: wanda::scores,
    },
    Criterion {
        name: "magnitude",
        summary: "|w|, compared within the matrix; needs no calibration",
        scope: Scope::Matrix,
        needs: Needs::Nothing,
        scores: magnitude::scores,
    },
    Criterion {
        name: "random",
        summary: "seeded noise: the control",
        scope: Scope::Row,
        needs: Needs::Nothing,
        scores: random::scores,
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

    /// Scores [d_out, d_in], row-major.
    pub fn scores(&self, problem: &LayerProblem) -> Vec<f32> {
        (self.scores)(problem)
    }
}
