//! lopper: prune large language models after training, and repair what pruning breaks.
//!
//! Modules are the stages of a run; a file imports only from stages below its own.

pub mod checkpoint;
pub mod error;
pub mod text;

pub use error::{Error, Result};
