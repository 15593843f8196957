//! The tokens that begin and end a text, by the files beside the tokenizer.

use std::path::Path;

use serde_json::Value;

use super::Tokenizer;
use crate::{Result, json};

/// Ids of the tokens around a text, where a model has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// BOS.
    pub begin: Option<u32>,
    /// EOS.
    pub end: Option<u32>,
}

impl SpecialTokens {
    /// Reads `tokenizer_config.json` (names), as transformers does; where it names neither, the ids of `config.json`.
    ///
    /// # Errors
    /// If one of them is there and cannot be read.
    pub fn read(directory: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let [names, ids] = ["tokenizer_config.json", "config.json"].map(|file| json::of_file(&directory.join(file)));
        let (names, ids) = (names?, ids?);
        let named = ["bos_token", "eos_token"].map(|name| by_name(&names[name], tokenizer));
        let [begin, end] = match named {
            [None, None] => ["bos_token_id", "eos_token_id"].map(|name| by_id(&ids[name])),
            _ => named,
        };
        Ok(Self { begin, end })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::SpecialTokens;
    use crate::text::Tokenizer;

    #[test]
    fn the_config_counts_only_where_the_tokenizer_names_no_token() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |file: &str, value: serde_json::Value| {
            std::fs::write(folder.path().join(file), value.to_string()).expect("written");
        };
        let vocabulary = json!({"model": {"type": "WordLevel", "vocab": {"<s>": 0, "</s>": 1}, "unk_token": "<s>"}});
        write("tokenizer.json", vocabulary);
        write("config.json", json!({"bos_token_id": 0, "eos_token_id": [1, 0]}));
        let tokenizer = Tokenizer::open(folder.path()).expect("tokenizer");
        let read = || SpecialTokens::read(folder.path(), &tokenizer).expect("read");
        assert_eq!(read(), SpecialTokens { begin: Some(0), end: Some(1) });
        write("tokenizer_config.json", json!({"bos_token": null, "eos_token": {"content": "</s>"}}));
        assert_eq!(read(), SpecialTokens { begin: None, end: Some(1) });
    }
}
