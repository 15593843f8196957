//! The model's own tokenizer, from `tokenizer.json` (the `tokenizers` library of Hugging Face runs it).
//!
//! A text is encoded whole, however long: cutting it would change tokens at the cuts. Truncation and padding that
//! a file asks for, being settings of its training run, are off.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::caught;
use crate::{Error, Result};

/// Text ↔ token ids.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    max_id: u32,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model directory.
    ///
    /// # Errors
    /// [`Error::Text`] when it is missing or not a tokenizer, [`Error::Io`] when it cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let problem = format!("{}: there is no tokenizer.json", dir.display());
            return Err(Error::Text { problem, hint: Some(conversion(dir)) });
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(&bytes, &path.display().to_string())
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Text`] when they are not a tokenizer.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes, "tokenizer.json")
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self> {
        let fault = |problem: String| Error::Text {
            problem: format!("{origin}: not a tokenizer this program can run: {problem}"),
            hint: Some(
                "fetch the file again, or write it anew with AutoTokenizer.from_pretrained(dir).save_pretrained(dir)"
                    .into(),
            ),
        };
        check_character_tables(bytes).map_err(fault)?;
        let mut inner = run(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(fault)?;
        run(|| inner.with_truncation(None).map(|_| ())).map_err(fault)?;
        inner.with_padding(None);
        let vocabulary = inner.get_vocab(true);
        let Some(max_id) = vocabulary.values().copied().max() else {
            return Err(Error::Text { problem: format!("{origin}: the vocabulary is empty"), hint: None });
        };
        Ok(Self { inner, vocab_size: vocabulary.len(), max_id })
    }

    /// Token ids of a text; `add_special` adds what the tokenizer puts around a text, such as a BOS token.
    ///
    /// # Errors
    /// [`Error::Text`] when the tokenizer has no token for some of the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = run(|| self.inner.encode_fast(text, add_special)).map_err(|error| Error::Text {
            problem: format!("the tokenizer cannot encode this text: {error}"),
            hint: None,
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids; `skip_special` leaves out tokens such as BOS. Unknown ids are left out.
    ///
    /// # Errors
    /// [`Error::Text`] when the tokenizer cannot put the tokens together.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        run(|| self.inner.decode(ids, skip_special)).map_err(|error| Error::Text {
            problem: format!("the tokenizer cannot decode these tokens: {error}"),
            hint: None,
        })
    }

    /// The id of a token as the vocabulary spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, added ones included. Ids may have gaps: see [`Self::max_id`].
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The largest id that [`Self::encode`] can give.
    pub fn max_id(&self) -> u32 {
        self.max_id
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size)
            .field("max_id", &self.max_id)
            .finish_non_exhaustive()
    }
}

/// The library's answer; it panics on some tables that are damaged.
fn run<T>(f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    caught(f)?.map_err(|error| error.to_string())
}

/// Checks that tables of characters are as long as they claim: the library takes the memory before it looks.
fn check_character_tables(bytes: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Parts {
        normalizer: Option<Value>,
    }
    let parts: Parts = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    parts.normalizer.as_ref().map_or(Ok(()), check_tables_of)
}

fn check_tables_of(normalizer: &Value) -> Result<(), String> {
    match normalizer {
        Value::Array(list) => list.iter().try_for_each(check_tables_of),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| match value.as_str() {
            Some(table) if key == "precompiled_charsmap" && claimed_length(table) > table.len() => {
                Err(format!("a table of characters in {} letters claims {} bytes", table.len(), claimed_length(table)))
            }
            _ => check_tables_of(value),
        }),
        _ => Ok(()),
    }
}

/// The u32, little endian, that opens bytes in base 64.
fn claimed_length(table: &str) -> usize {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let bits = table.bytes().take(6).fold(0_u64, |bits, letter| bits << 6 | u64::from(digit(letter)));
    ((bits >> 4) as u32).swap_bytes() as usize
}

/// What to do without a `tokenizer.json`, by what else is there.
fn conversion(dir: &Path) -> String {
    let other = ["tokenizer.model", "vocab.json", "spiece.model", "vocab.txt"]
        .into_iter()
        .find(|name| dir.join(name).is_file());
    match other {
        Some(name) => {
            format!("convert {name} with AutoTokenizer.from_pretrained(dir, use_fast=True).save_pretrained(dir)")
        }
        None => "copy the tokenizer.json of the model into the directory".into(),
    }
}
