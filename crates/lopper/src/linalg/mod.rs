//! Numbers on plain matrices: Gram matrices, their inverse factors, conjugate gradients, selection.

pub(crate) mod cholesky;
mod conjugate_gradient;
mod gram;
mod inverse_hessian;
pub mod select;
mod triangular_inverse;

pub use conjugate_gradient::{MaskedSolution, masked_least_squares};
pub use gram::Gram;
pub use inverse_hessian::InverseHessian;
