//! The differentiable ops, one in each file.

mod activation;
mod adapter;
mod add;
mod attention;
mod bound;
mod combine;
mod convolution;
mod delta_scan;
mod distillation;
mod gate_rows;
mod head_scan;
mod join;
mod layer_norm;
mod linear;
mod loss;
mod normed_linear;
mod rms_norm;
mod rotary;
mod route;
mod row_loss;
mod scan;
mod select_rows;

pub use adapter::AdapterForm;
pub use attention::AttentionLayout;
pub use delta_scan::DeltaHeads;
pub use head_scan::ScanHeads;
pub use join::Part;
pub use normed_linear::Normed;
pub use rotary::RotaryTable;
pub use route::{Groups, Routes, Routing, Scoring};
