//! Numbers on plain matrices: Gram matrices, factorisation, conjugate gradients, selection.

mod cholesky;
mod conjugate_gradient;
mod gram;
pub mod select;

pub use cholesky::solve_positive_definite;
pub use conjugate_gradient::{MaskedSolution, masked_least_squares};
pub use gram::Gram;
