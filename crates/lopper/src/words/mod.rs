//! Plans and findings in words, and numbers as people read them: for the terminal and for model cards.

pub mod patterns;
pub mod shrunk;
pub mod training;
pub mod units;
