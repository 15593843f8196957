//! What may be zero: patterns, masks that obey them, and how many zeros each of several matrices gets.

pub mod allocation;
mod mask;
mod pattern;
mod scope;

pub use mask::Mask;
pub use pattern::Pattern;
pub use scope::{Extent, Scope};
