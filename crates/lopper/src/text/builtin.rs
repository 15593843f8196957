//! Text that is always there: what the demo's generator writes.

use std::path::Path;

use super::Tokenizer;
use crate::error::{Error, Result};

/// The name that stands for the built-in held-out text where a file is asked for.
const NAME: &str = "demo";
/// Documents, of about a hundred words each, of the held-out text.
const HELD_OUT_DOCUMENTS: usize = 300;
/// Tokens that a document is sure to exceed.
const SHORTEST_DOCUMENT: usize = 32;

/// Tokens that the generator is asked for at most.
const MOST_TOKENS: usize = 1 << 26;

/// At least `count` tokens of generated text to calibrate on.
///
/// # Errors
/// If that is more than anyone calibrates on, or the tokenizer fails.
pub fn builtin_text(tokenizer: &Tokenizer, count: usize) -> Result<Vec<u32>> {
    if count > MOST_TOKENS {
        return Err(Error::Text {
            problem: format!("{count} tokens of built-in text are asked for, more than {MOST_TOKENS}"),
            hint: Some("take fewer windows with --samples, shorter ones with --seqlen, or give a text".into()),
        });
    }
    let mut documents = count / 128 + 1;
    loop {
        let tokens = tokenizer.encode(&lopper_demo::calibration_text(documents), false)?;
        if tokens.len() >= count || documents > count / SHORTEST_DOCUMENT + 1 {
            return Ok(tokens);
        }
        documents *= 2;
    }
}

/// The built-in held-out text, if `path` is its name, `demo`, and not that of a file.
pub fn builtin_held_out(path: &Path) -> Option<String> {
    (path == Path::new(NAME) && !path.exists()).then(|| lopper_demo::held_out_text(HELD_OUT_DOCUMENTS))
}
