//! lopper: prune large language models after training, and repair what pruning breaks.
//!
//! Modules are the stages of a run; a file imports only from stages below its own. A run from beginning to end:
//!
//! ```
//! use lopper::checkpoint::Checkpoint;
//! use lopper::evaluation::{Windows, perplexity};
//! use lopper::model::Decoder;
//! use lopper::plan::Plan;
//! use lopper::progress::Silent;
//! use lopper::prune::prune;
//!
//! # fn main() -> lopper::Result<()> {
//! # let home = tempfile::tempdir().map_err(lopper::Error::io("create", "a directory"))?;
//! # let (directory, out) = (home.path().join("model"), home.path().join("out"));
//! # lopper_demo::write_model(&directory).map_err(lopper::Error::io("write", &directory))?;
//! // a checkpoint whose weights stay on the disk
//! let model = Decoder::open(Checkpoint::open(&directory)?)?;
//! let plan = Plan::parse(
//!     r#"
//!     model = "the demo"
//!     calibration = { samples = 4, held_out = 1, seqlen = 32 }
//!     pruning = { pattern = "2:4" }
//!     reconstruction = { epochs = 1 }
//!     "#,
//!     "the example",
//! )?;
//! let report = prune(&plan, &model, &out, &mut Silent)?;
//! assert_eq!(report.model.zeros, report.model.prunable / 2);
//!
//! // what was written is a checkpoint of the same form
//! let pruned = Decoder::open(Checkpoint::open(&out)?)?;
//! let tokens: Vec<u32> = (1..65).collect();
//! let windows = Windows { length: 32, count: None };
//! let precision = lopper_kernels::Precision::F32;
//! assert_eq!(perplexity(&pruned, &tokens, windows, precision, &mut |_| ())?.windows, 2);
//! # Ok(())
//! # }
//! ```
//!
//! A criterion of one's own is a [`method::Criterion`]; what a family of models is made of, a [`model::DecoderSpec`].

#![forbid(unsafe_code)]

pub mod autograd;
pub mod calibration;
pub mod card;
pub mod chart;
pub mod checkpoint;
pub mod error;
pub mod evaluation;
pub mod explain;
pub mod hub;
pub mod inspect;
mod json;
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
pub mod words;

pub use error::{Error, Result};
