//! What may be zero: patterns, masks that obey them, and how many zeros each of several matrices gets.

pub mod allocation;
mod mask;
mod pattern;

pub use mask::Mask;
pub use pattern::{Extent, Pattern, Scope};
