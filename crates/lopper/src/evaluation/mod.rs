//! What a model is worth: perplexity of texts, answers to the questions of tasks.

mod comparison;
mod data;
mod draw;
mod forward;
mod loglikelihood;
mod output;
mod perplexity;
mod questions;
mod row;
mod scores;
mod significance;
mod suite;
mod tasks;
mod texts;

pub use comparison::{ComparedTexts, TaskDifference, TextDifference, compare_tasks, compare_texts};
pub use data::rows;
pub(crate) use forward::{BATCH_ROWS, HEAD_BATCHES, group_bytes};
pub use forward::{Passage, next_tokens};
pub use loglikelihood::{Answer, Encoder, log_likelihoods};
pub use output::{harness, records};
pub use perplexity::{Perplexity, Windows, perplexities, perplexity};
pub use questions::{Asking, QuestionSet, SEED, Source};
pub use row::Row;
pub use scores::{Measure, Record, TaskScore};
pub use significance::{mcnemar, paired_t};
pub use suite::{Comparison, EvaluationSet, Scores, Suite, TextScore, passages, score};
pub use tasks::{BuiltIn, DataSet, Examples, Metric, Prompt, Question, TASKS, Task, parse_task};
pub use texts::{HELD_OUT, ScoredText, open_tokenizer};
