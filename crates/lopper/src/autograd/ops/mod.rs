//! The differentiable ops. Each file holds one: the fused way on the CPU, and the same in candle's ops for every other device.

mod adapter;
mod attention;
mod distillation;
mod embedding;
mod gated_silu;
mod linear;
mod loss;
mod normed_linear;
mod rms_norm;
mod rotary;
mod row_loss;

pub use adapter::AdapterForm;
pub use attention::AttentionLayout;
pub use normed_linear::Normed;
pub use rotary::RotaryTable;
