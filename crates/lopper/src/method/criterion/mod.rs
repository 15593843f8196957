//! Criteria: what to prune. One file per paper; the table at the end is all that names them.

mod flap;
mod magnitude;
pub(super) mod obs;
mod random;
mod ria;
pub(super) mod sparsegpt;
mod wanda;

use std::sync::Arc;

use super::{LayerProblem, Order, Selection};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::sparsity::Scope;
use crate::tensor::Tensor;

pub use flap::Flap;
pub use magnitude::Magnitude;
pub use random::Random;
pub use ria::Ria;
pub use wanda::Wanda;

/// A score for every weight: the smallest are pruned.
///
/// What chooses while weights move is no criterion in this sense, but a [`Selection`] of its own.
///
/// # A criterion of one's own
///
/// ```
/// use std::sync::Arc;
///
/// use lopper::calibration::{InputStatistics, Needs};
/// use lopper::linalg::Uniform;
/// use lopper::method::{Compensation, Criterion, DAMPING, LayerProblem, Method, Selection, SolverSettings};
/// use lopper::sparsity::Pattern;
/// use lopper::tensor::Tensor;
///
/// /// `w²·‖x‖²`: what a weight adds to the output, squared.
/// struct Energy;
///
/// impl Criterion for Energy {
///     fn name(&self) -> &str {
///         "energy"
///     }
///
///     fn needs(&self) -> Needs {
///         Needs::ColumnNorms
///     }
///
///     fn scores(&self, problem: &LayerProblem) -> Tensor {
///         let squares = problem.inputs.squares.host();
///         problem.score(|w, input| w * w * squares[input] as f32)
///     }
/// }
///
/// // a layer of 6 outputs and 8 inputs, and 50 rows of what it reads
/// let mut noise = Uniform::new(7);
/// let weight = Tensor::new([6, 8], noise.by_ref().take(6 * 8).collect());
/// let read: Vec<f32> = noise.take(50 * 8).collect();
///
/// let method = Method { selection: Selection::Scores(Arc::new(Energy)), compensation: Compensation::by_name("joint")? };
/// let settings = SolverSettings::default();
/// let mut inputs = InputStatistics::new(8, method.needs());
/// inputs.add(&read);
/// inputs.finish(DAMPING);
///
/// let pattern: Pattern = "2:4".parse()?;
/// let problem = LayerProblem { weight: &weight, inputs: &inputs, pattern: &pattern, seed: 0, settings };
/// let solution = method.solve(&problem)?;
/// assert_eq!(solution.weight.count_zeros(), 6 * 8 / 2);
/// assert!(solution.facts.error_compensated < solution.facts.error_pruned);
/// # Ok::<(), lopper::Error>(())
/// ```
pub trait Criterion: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &str;

    /// What it wants to know of the inputs. It is asked for scores only where that is known.
    fn needs(&self) -> Needs;

    /// Scores [d_out, d_in], as the weight. Of each scope the smallest are pruned, ties at the lower index; a NaN counts as larger
    /// than any number.
    fn scores(&self, problem: &LayerProblem) -> Tensor;

    /// Where its source compares scores: what a plan asks for that does not say.
    fn scope(&self) -> Scope {
        Scope::Row
    }

    /// Floating-point operations for a weight of this shape, [d_out, d_in].
    fn cost(&self, [d_out, d_in]: [usize; 2]) -> f64 {
        d_out as f64 * d_in as f64
    }
}

/// A criterion of the literature by name.
pub struct NamedCriterion {
    /// Its name in plans and on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The choice in this order, or in its own.
    how: fn(Option<Order>) -> Result<Selection>,
}

/// Every criterion with a name.
pub const CRITERIA: &[NamedCriterion] = &[
    NamedCriterion {
        name: "wanda",
        summary: "|w|·‖x‖ of its input, compared within a row (Sun et al. 2023)",
        how: |order| scores(Wanda, order),
    },
    NamedCriterion {
        name: "magnitude",
        summary: "|w|, compared within the matrix; needs no calibration",
        how: |order| scores(Magnitude, order),
    },
    NamedCriterion {
        name: "ria",
        summary: "|w| relative to its row and column, times ‖x‖^½ (Zhang et al. 2024)",
        how: |order| scores(Ria, order),
    },
    NamedCriterion {
        name: "flap",
        summary: "w²·Var(x) of its input (An et al. 2024)",
        how: |order| scores(Flap, order),
    },
    NamedCriterion {
        name: "obs",
        summary: "w²/[H⁻¹]_jj: removed alone, all others free to move (Hassibi & Stork 1993; Solution S of Zhao et al. 2024)",
        how: |order| Ok(Selection::Saliency(order.unwrap_or(Order::Whole))),
    },
    NamedCriterion {
        name: "sparsegpt",
        summary: "w²/U_jj², chosen block by block while the sweep moves the rest (Frantar & Alistarh 2023)",
        how: sweep,
    },
    NamedCriterion {
        name: "mrp",
        summary: "N:M only: the subset of each group whose joint removal costs least (Solution M of Zhao et al. 2024)",
        how: |order| Ok(Selection::Subset(order.unwrap_or(Order::Blocks))),
    },
    NamedCriterion { name: "random", summary: "seeded noise: the control", how: |order| scores(Random, order) },
];

impl NamedCriterion {
    /// By name.
    ///
    /// # Errors
    /// If there is none of that name; the hint lists them.
    pub fn by_name(name: &str) -> Result<&'static Self> {
        CRITERIA.iter().find(|criterion| criterion.name == name).ok_or_else(|| Error::Plan {
            problem: format!("there is no criterion {name:?}"),
            hint: Some(format!(
                "known: {}",
                CRITERIA.iter().map(|criterion| criterion.name).collect::<Vec<_>>().join(", ")
            )),
        })
    }

    /// How it chooses in this order, or in its own if none is given.
    ///
    /// # Errors
    /// If it cannot choose in this order, saying what it can do instead.
    pub fn selection(&self, order: Option<Order>) -> Result<Selection> {
        (self.how)(order)
    }
}

fn scores(criterion: impl Criterion + 'static, order: Option<Order>) -> Result<Selection> {
    if order == Some(Order::Blocks) {
        let name = criterion.name();
        return Err(Error::Plan {
            problem: format!("criterion {name:?} scores all weights at once and cannot choose block by block"),
            hint: Some("leave out the order, or take obs, sparsegpt or mrp".into()),
        });
    }
    Ok(Selection::Scores(Arc::new(criterion)))
}

fn sweep(order: Option<Order>) -> Result<Selection> {
    if order == Some(Order::Whole) {
        return Err(Error::Plan {
            problem: "criterion \"sparsegpt\" chooses block by block".into(),
            hint: Some("leave out the order, or take \"obs\", which scores all weights at once".into()),
        });
    }
    Ok(Selection::Sweep)
}

#[cfg(test)]
mod tests {
    use super::CRITERIA;

    #[test]
    fn a_criterion_says_the_name_that_the_table_has() {
        for criterion in CRITERIA {
            assert_eq!(criterion.selection(None).expect("its own order").name(), criterion.name);
        }
    }
}
