//! lopper: prune large language models after training, and repair what pruning breaks.
//!
//! Modules are the stages of a run; a file imports only from stages below its own.

#![forbid(unsafe_code)]

pub mod autograd;
pub mod calibration;
pub mod chart;
pub mod checkpoint;
pub mod error;
pub mod evaluation;
pub mod explain;
pub mod hub;
pub mod inspect;
pub mod linalg;
pub mod machine;
pub mod method;
pub mod model;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod reconstruction;
pub mod report;
pub mod schedule;
pub mod sparsity;
pub mod study;
pub mod tensor;
pub mod text;

pub use error::{Error, Result};
