//! Reconstruction (Wagner et al. 2025, arXiv 2510.14444): freeze the mask, and train what is kept of a window to reproduce the dense
//! model's activations. One training loop; what trains, on what, and towards what is data.

mod adapter;
mod line_search;
mod objective;
mod outcome;
mod parameters;
mod prediction;
mod settings;
mod train;
mod trainee;
mod window;

pub use objective::{Matching, Objective};
pub use outcome::Outcome;
pub use parameters::{AdapterKind, Parameters};
pub use prediction::{Goal, Prediction};
pub use settings::{Loss, Settings};
pub use train::{Epoch, WindowData, reconstruct};
pub use window::{Layers, Segment, Window};

#[cfg(test)]
mod tests;
