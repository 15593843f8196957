//! Compensations: given a mask, move the kept weights. One file per solver; this table is all that names them.

mod exact;
mod joint;
mod none;
mod sweep;

pub(crate) use joint::SHARES;

use super::walk::Moving;
use super::{LayerProblem, SolutionFacts, SolverSettings};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// A way to move kept weights.
#[derive(Clone, Copy)]
pub struct Compensation {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    needs: Needs,
    judges: bool,
    moving: Moving,
    /// Products of the weight with a Gram matrix that it takes, for so many inputs, and where it looks for γ on others held out.
    products: fn(usize, &SolverSettings, bool) -> f64,
    repair: fn(&LayerProblem, &Mask, &mut SolutionFacts) -> Option<Tensor>,
}

/// Every compensation this program knows.
pub const COMPENSATIONS: &[Compensation] = &[
    Compensation {
        name: "joint",
        summary: "the least-squares optimum of all kept weights of a row at once (Zhao et al. 2024, eq. 11-13)",
        needs: Needs::Gram,
        judges: true,
        moving: Moving::Joint,
        products: joint::products,
        repair: joint::repair,
    },
    Compensation {
        name: "exact",
        summary: "the same optimum by a factorisation per row: slow, for small layers and as a reference",
        needs: Needs::Gram,
        judges: false,
        moving: Moving::Joint,
        // k³/3 for each row, k = half of d_in kept weights
        products: |d_in, _, _| d_in as f64 / 48.0,
        repair: exact::repair,
    },
    Compensation {
        name: "sweep",
        summary: "columns from left to right, only what lies to the right moves (Frantar & Alistarh 2023)",
        needs: Needs::InverseHessian,
        judges: false,
        moving: Moving::Sweep,
        // each column meets those to its right
        products: |_, _, _| 0.5,
        repair: sweep::repair,
    },
    Compensation {
        name: "none",
        summary: "kept weights stay as they are",
        needs: Needs::Nothing,
        judges: false,
        moving: Moving::Nothing,
        products: |_, _, _| 0.0,
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

    /// Whether it makes use of inputs held out.
    pub fn judges(&self) -> bool {
        self.judges
    }

    /// What moves in a walk that chooses for this compensation.
    pub(super) fn moving(&self) -> Moving {
        self.moving
    }

    /// Floating-point operations for a weight of this shape, [d_out, d_in], of which half is pruned; more where it `judges` γ by
    /// inputs held out.
    pub fn cost(&self, [d_out, d_in]: [usize; 2], settings: &SolverSettings, judges: bool) -> f64 {
        2.0 * (self.products)(d_in, settings, judges) * (d_out * d_in * d_in) as f64
    }

    /// The repaired weight [d_out, d_in], zero wherever the mask prunes; `None` if kept weights stay as they are.
    pub fn repair(&self, problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Tensor> {
        (self.repair)(problem, mask, facts)
    }
}
