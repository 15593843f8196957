//! Numbers on plain matrices: Gram matrices, conjugate gradients, selection.

mod conjugate_gradient;
mod gram;
pub mod select;

pub use conjugate_gradient::{MaskedSolution, masked_least_squares};
pub use gram::Gram;
