//! The model's own tokenizer, from `tokenizer.json` (the `tokenizers` library of Hugging Face runs it).
//!
//! A text has the tokens of the whole, however long it is. A long one is encoded by parts, which takes less memory and all threads: a cut changes
//! tokens beside it, so parts overlap and are joined where they agree. Truncation and padding that a file asks for, being settings of its
//! training run, are off.

use std::fmt;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::error::caught;
use crate::{Error, Result, json};

/// Bytes of a part of a long text.
const PART: usize = 1 << 17;
/// Bytes beyond its end that a part looks at.
const OVERLAP: usize = 1 << 13;
/// Tokens in a row that are the same in two parts where they are joined.
const AGREEMENT: usize = 32;

/// Bytes of text that so many threads encode at one time, but for texts without words.
pub(crate) fn at_once(threads: usize) -> u64 {
    (2 * PART * threads) as u64
}

/// Text ↔ token ids.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    max_id: u32,
    /// Ids from this one on are refused in texts.
    limit: usize,
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
        Self::parse(json::without_mark(&bytes), &path.display().to_string())
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
        Ok(Self { inner, vocab_size: vocabulary.len(), max_id, limit: usize::MAX })
    }

    /// Token ids of a text; `add_special` adds what the tokenizer puts around a text, such as a BOS token.
    ///
    /// # Errors
    /// [`Error::Text`] when the tokenizer, or the model it is for, has no token for some of the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let by_parts = if text.len() > 2 * PART && !add_special { self.encode_by_parts(text)? } else { None };
        let ids = by_parts.map_or_else(
            || run(|| self.inner.encode_fast(text, add_special)).map(|encoding| encoding.get_ids().to_vec()),
            Ok,
        );
        let ids = ids.map_err(|error| unfit(&error))?;
        match ids.iter().find(|id| **id as usize >= self.limit) {
            None => Ok(ids),
            Some(id) => Err(Error::Text {
                problem: format!(
                    "the text has the token {id} ({:?}), and the model knows only {} tokens",
                    self.inner.id_to_token(*id).unwrap_or_default(),
                    self.limit
                ),
                hint: Some(
                    "tokenizer.json is of another model, or tokens were added to it without resizing the embedding"
                        .into(),
                ),
            }),
        }
    }

    /// The same tokenizer for a model that knows so many tokens: a text with others cannot be encoded.
    #[must_use]
    pub fn within(self, vocabulary: usize) -> Self {
        Self { limit: vocabulary, ..self }
    }

    /// Token ids of texts, one after the other, without special tokens.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<u32>> {
        let ids: Vec<Vec<u32>> = texts.par_iter().map(|text| self.encode(text, false)).collect::<Result<_>>()?;
        Ok(ids.concat())
    }

    /// Token ids of a long text; nothing where two parts do not agree on any place, as in a text without words.
    fn encode_by_parts(&self, text: &str) -> Result<Option<Vec<u32>>> {
        // the last of them looks over its end
        let parts = text.len().saturating_sub(OVERLAP).div_ceil(PART);
        let cuts: Vec<usize> = (0..parts).map(|part| text.floor_char_boundary(part * PART)).collect();
        let parts = cuts.par_iter().map(|&start| {
            let end = text.floor_char_boundary((start + PART + OVERLAP).min(text.len()));
            let encoding = run(|| self.inner.encode(&text[start..end], false)).map_err(|error| unfit(&error))?;
            let spans = encoding.get_offsets().iter().map(|&(from, to)| (start + from, start + to));
            Ok(encoding.get_ids().iter().copied().zip(spans).collect::<Vec<Token>>())
        });
        let mut parts = parts.collect::<Result<Vec<_>>>()?.into_iter().zip(cuts);
        let Some((mut tokens, _)) = parts.next() else { return Ok(None) };
        for (part, cut) in parts {
            let Some((end, from)) = junction(&tokens, &part, cut) else { return Ok(None) };
            tokens.truncate(end);
            tokens.extend_from_slice(&part[from..]);
        }
        Ok(Some(tokens.into_iter().map(|(id, _)| id).collect()))
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

/// A token and the bytes of the text that it stands for.
type Token = (u32, (usize, usize));

/// How many tokens of what is encoded so far, and from which token on those of the next part, which begins at `cut`, make one text.
fn junction(tokens: &[Token], part: &[Token], cut: usize) -> Option<(usize, usize)> {
    let (mut own, mut other, mut agreed) = (tokens.partition_point(|(_, (start, _))| *start < cut), 0, 0);
    while let (Some(mine), Some(theirs)) = (tokens.get(own), part.get(other)) {
        agreed = if mine == theirs { agreed + 1 } else { 0 };
        if agreed == AGREEMENT {
            return Some((own + 1, other + 1));
        }
        let [my_end, their_end] = [mine, theirs].map(|(_, (_, end))| *end);
        (own, other) = (own + usize::from(my_end <= their_end), other + usize::from(their_end <= my_end));
    }
    None
}

fn unfit(error: &str) -> Error {
    Error::Text { problem: format!("the tokenizer cannot encode this text: {error}"), hint: None }
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
