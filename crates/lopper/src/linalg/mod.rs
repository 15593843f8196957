//! Numbers on plain matrices: Gram matrices, their inverse factors, conjugate gradients, selection, samples, seeded noise.

pub(crate) mod cholesky;
mod conjugate_gradient;
mod gram;
mod inverse_hessian;
mod sample;
pub mod select;
mod triangular_inverse;
mod uniform;

pub use conjugate_gradient::{MaskedSolution, least_squares, masked_least_squares};
pub use gram::Gram;
pub use inverse_hessian::InverseHessian;
pub use sample::mean_and_variance;
pub use uniform::Uniform;
