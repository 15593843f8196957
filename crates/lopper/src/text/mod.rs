//! Text in, tokens out: files of calibration and evaluation text, and the model's own tokenizer.

mod builtin;
mod corpus;
mod special;
mod tokenizer;
mod toml;

pub use builtin::{builtin_held_out, builtin_text};
pub(crate) use corpus::read_utf8;
pub use corpus::{Document, read_documents, read_text, read_wikitext};
pub use special::SpecialTokens;
pub use tokenizer::Tokenizer;
pub(crate) use toml::from_toml;
