//! Compensations: given a mask, move the kept weights. One file per solver; this table is all that names them.

pub(crate) mod joint;
mod none;

use super::{LayerProblem, SolutionFacts};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::sparsity::Mask;

/// A way to move kept weights.
#[derive(Clone, Copy)]
pub struct Compensation {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    needs: Needs,
    repair: fn(&LayerProblem, &Mask, &mut SolutionFacts) -> Option<Vec<f32>>,
}

/// Every compensation this program knows.
pub const COMPENSATIONS: &[Compensation] = &[
    Compensation {
        name: "joint",
        summary: "the least-squares optimum of all kept weights of a row at once (Zhao et al. 2024, eq. 11-13)",
        needs: Needs::Gram,
        repair: joint::repair,
    },
    Compensation {
        name: "none",
        summary: "kept weights stay as they are",
        needs: Needs::Nothing,
        repair: none::repair,
    },
];

impl Compensation {
    /// By name.
    ///
    /// # Errors
    /// If there is none of that name; the hint lists them.
    pub fn by_name(name: &str) -> Result<Self> {
        COMPENSATIONS.iter().find(|compensation| compensation.name == name).copied().ok_or_else(|| Error::Plan {
            problem: format!("there is no compensation {name:?}"),
            hint: Some(format!(
                "known: {}",
                COMPENSATIONS.iter().map(|compensation| compensation.name).collect::<Vec<_>>().join(", ")
            )),
        })
    }

    /// What it wants to know of the inputs.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The repaired weight [d_out, d_in], zero wherever the mask prunes; `None` if kept weights stay as they are.
    pub fn repair(&self, problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Vec<f32>> {
        (self.repair)(problem, mask, facts)
    }
}
