//! What people and programs read: tables and JSON on stdout, progress and errors on stderr.

pub mod error;
pub mod output;
pub mod progress;
pub mod report;
pub mod table;
pub mod words;

pub use lopper::words::{patterns, shrunk, training, units};
