//! Text in, tokens out: files of calibration and evaluation text, in whatever form they have, and the model's own tokenizer.

mod builtin;
mod chat;
mod corpus;
mod entries;
mod excerpt;
mod files;
mod lines;
mod parquet;
mod python_json;
mod source;
mod special;
mod table;
mod thrift;
mod tokenizer;
mod toml;

pub use builtin::{builtin_held_out, builtin_text};
pub(crate) use corpus::Form;
pub use corpus::{Reader, read_text, read_wikitext};
pub(crate) use excerpt::{Choice, Excerpt, bytes_for};
pub(crate) use files::all_files;
pub use special::SpecialTokens;
pub(crate) use table::read_rows;
pub use tokenizer::Tokenizer;
pub(crate) use tokenizer::at_once;
pub(crate) use toml::from_toml;
