//! What a model is worth: perplexity.

mod perplexity;
mod texts;

pub(crate) use perplexity::{GROUP_BYTES, HEAD_SEQUENCES};
pub use perplexity::{Perplexity, Windows, perplexity};
pub use texts::{ScoredText, open_tokenizer, tokenize};
