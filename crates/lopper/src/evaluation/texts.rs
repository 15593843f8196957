//! Texts to score: read, joined by their convention, tokenised.

use std::path::{Path, PathBuf};

use super::Windows;
use crate::error::{Error, Result};
use crate::model::DecoderSpec;
use crate::text::{Choice, Excerpt, Form, Reader, Tokenizer, all_files, builtin_held_out};

/// What the text of held-out calibration windows is called, which is scored where there is nothing else.
pub const HELD_OUT: &str = "held-out calibration windows";

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

    /// Reads `texts` as they stand (`demo` stands for the built-in held-out text) and `wikitext` by joining rows as the data set does, as far as
    /// `windows` take. Each file of a directory, or of a pattern, is a text of its own. `progress` is told how far each is, in [0, 1].
    ///
    /// # Errors
    /// If a file cannot be read, or holds no whole window.
    pub fn read_all(
        [texts, wikitext]: [&[PathBuf]; 2],
        tokenizer: &Tokenizer,
        windows: Windows,
        reader: &mut Reader,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (paths, form) in [(texts, Form::Plain), (wikitext, Form::WikiText)] {
            for path in paths {
                if let Some(text) = builtin_held_out(path).filter(|_| form == Form::Plain) {
                    all.push(Self::new(path.display().to_string(), tokenizer.encode(&text, false)?, windows)?);
                    continue;
                }
                for file in all_files([path])? {
                    let name = file.display().to_string();
                    let tokens = windows.count.map(|count| count.saturating_mul(windows.length));
                    let excerpt = Excerpt { files: vec![(file, form)], choice: Choice::First, tokens, tokenizer };
                    all.push(Self::new(name, excerpt.read(reader, progress)?, windows)?);
                }
            }
        }
        Ok(all)
    }
}

/// The tokenizer of a model, which refuses texts with tokens that have no row in the embedding. It may have such tokens: many that were
/// tuned for conversations have one to fill up with, which no text has.
///
/// # Errors
/// If it is missing or not one.
pub fn open_tokenizer(model: &Path, spec: &DecoderSpec) -> Result<Tokenizer> {
    Ok(Tokenizer::open(model)?.within(spec.vocabulary))
}
