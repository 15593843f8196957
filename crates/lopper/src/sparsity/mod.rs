//! What may be zero: patterns, and masks that obey them.

mod mask;
mod pattern;

pub use mask::Mask;
pub use pattern::{Pattern, Scope};
