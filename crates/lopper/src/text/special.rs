//! The tokens that begin and end a text, by the files beside the tokenizer.

use std::path::Path;

use serde_json::Value;

use super::Tokenizer;
use crate::{Error, Result};

/// Ids of the tokens around a text, where a model has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// BOS.
    pub begin: Option<u32>,
    /// EOS.
    pub end: Option<u32>,
}

impl SpecialTokens {
    /// Reads `tokenizer_config.json` (names), then `config.json` (ids), as far as they are there.
    ///
    /// # Errors
    /// If one of them is there and cannot be read.
    pub fn read(directory: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let [names, ids] = ["tokenizer_config.json", "config.json"].map(|file| json(&directory.join(file)));
        let (names, ids) = (names?, ids?);
        let find = |name: &str| by_name(&names[name], tokenizer).or_else(|| by_id(&ids[format!("{name}_id")]));
        Ok(Self { begin: find("bos_token"), end: find("eos_token") })
    }
}

/// A token given as a string, or as an object with its `content`.
fn by_name(token: &Value, tokenizer: &Tokenizer) -> Option<u32> {
    let name = token.as_str().or_else(|| token["content"].as_str())?;
    tokenizer.token_to_id(name)
}

/// A token given as an id, or as a list of them, of which the first counts.
fn by_id(id: &Value) -> Option<u32> {
    id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok())
}

/// The contents of a file; null where there is none.
fn json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::Text { problem: format!("{}: not JSON: {error}", path.display()), hint: None })
}
