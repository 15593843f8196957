//! Reverse-mode differentiation on candle tensors: a tape of closures over fused kernels.
//!
//! candle's own autograd pays a zero-filled buffer and an addition per edge; here gradients are moved or accumulated
//! in place, and an op without tracked inputs leaves nothing behind, so inference and training share one forward pass.

mod ops;
mod storage;
mod tape;

pub mod optimizer;

pub use ops::{AdapterForm, AttentionLayout, Normed, RotaryTable};
pub use storage::{fill, read, write};
pub use tape::{Gradients, Tape, Value};
