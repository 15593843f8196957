//! Reconstruction (Wagner et al. 2025, arXiv 2510.14444): freeze the mask, and train the kept weights of a window to
//! reproduce the dense model's activations. One training loop; what it trains on is data.

mod train;
mod window;

pub use train::{Outcome, Settings, WindowData, reconstruct};
pub use window::Window;
