//! What a model is worth: perplexity of texts, answers to the questions of tasks.

mod data;
mod draw;
mod forward;
mod loglikelihood;
mod perplexity;
mod questions;
mod row;
mod scores;
mod suite;
mod tasks;
mod texts;

pub(crate) use forward::{BATCH_ROWS, GROUP_BYTES, HEAD_BATCHES};
pub use forward::{Passage, next_tokens};
pub use loglikelihood::{Answer, Encoder, log_likelihoods};
pub use perplexity::{Perplexity, Windows, perplexities, perplexity};
pub use questions::{Asking, Quiz, SEED};
pub use row::Row;
pub use scores::{Measure, Record, TaskScore};
pub use suite::{passages, score};
pub use tasks::{BuiltIn, DataSet, Examples, Metric, Prompt, Question, TASKS, Task};
pub use texts::{ScoredText, open_tokenizer, tokenize};
