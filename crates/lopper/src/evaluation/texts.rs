//! Texts to score: read, joined by their convention, tokenised.

use std::path::{Path, PathBuf};

use super::Windows;
use crate::error::{Error, Result};
use crate::model::DecoderSpec;
use crate::text::{Tokenizer, builtin_held_out, read_text, read_wikitext};

/// A tokenised text that holds at least one window.
#[derive(Clone, Debug)]
pub struct ScoredText {
    /// The file, or what the text is.
    pub name: String,
    /// Its tokens, cut into windows when it is scored.
    pub tokens: Vec<u32>,
    /// Which of them are scored.
    pub windows: Windows,
}

impl ScoredText {
    /// Checks that there is a whole window.
    ///
    /// # Errors
    /// If not.
    pub fn new(name: String, tokens: Vec<u32>, windows: Windows) -> Result<Self> {
        if windows.length >= 2 && tokens.len() >= windows.length {
            return Ok(Self { name, tokens, windows });
        }
        Err(Error::Text {
            problem: format!("{name} has {} tokens, fewer than one window of {}", tokens.len(), windows.length),
            hint: Some("give a longer text, or shorter windows with --eval-seqlen or --seqlen".into()),
        })
    }

    /// Reads `texts` as they stand (`demo` stands for the built-in held-out text) and `wikitext` by joining rows as the data set does.
    ///
    /// # Errors
    /// If a file cannot be read, or holds no whole window.
    pub fn read_all(
        texts: &[PathBuf],
        wikitext: &[PathBuf],
        tokenizer: &Tokenizer,
        windows: Windows,
    ) -> Result<Vec<Self>> {
        let name = |file: &Path| file.display().to_string();
        let plain = texts.iter().map(|file| {
            let documents = builtin_held_out(file).map_or_else(|| read_text(file), |text| Ok(vec![text]))?;
            Self::new(name(file), tokenize(&documents, tokenizer)?, windows)
        });
        let joined =
            wikitext.iter().map(|file| Self::new(name(file), tokenize(&[read_wikitext(file)?], tokenizer)?, windows));
        plain.chain(joined).collect()
    }
}

/// The tokens of documents, one after the other, without special tokens.
///
/// # Errors
/// If the tokenizer fails.
pub fn tokenize(documents: &[String], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    for document in documents {
        tokens.extend(tokenizer.encode(document, false)?);
    }
    Ok(tokens)
}

/// The tokenizer of a model, whose ids must have rows in the embedding.
///
/// # Errors
/// If it is missing or does not fit.
pub fn open_tokenizer(model: &Path, spec: &DecoderSpec) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::open(model)?;
    if (tokenizer.max_id() as usize) < spec.vocabulary {
        return Ok(tokenizer);
    }
    Err(Error::Model {
        problem: format!(
            "{}: the tokenizer has ids up to {}, the embedding only {} rows",
            model.display(),
            tokenizer.max_id(),
            spec.vocabulary
        ),
        hint: Some("tokenizer.json and config.json belong to different models, or tokens were added without resizing the embedding".into()),
    })
}
