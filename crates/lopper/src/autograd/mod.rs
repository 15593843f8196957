//! Reverse-mode differentiation: a tape of ops over fused kernels.
//!
//! Gradients are moved or accumulated in place, and an op without tracked inputs leaves nothing behind, so inference and
//! training share one forward pass.

mod op;
mod ops;
mod tape;

pub mod optimizer;

pub use ops::{
    AdapterForm, AttentionLayout, DeltaHeads, Groups, Normed, Part, RotaryTable, Routes, Routing, ScanHeads, Scoring,
};
pub use tape::{Gradients, Tape, Value};
