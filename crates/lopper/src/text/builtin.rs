//! Text for calibration when the user gives none: what the demo's generator writes.

use super::Tokenizer;
use crate::error::Result;

/// Tokens that a document is sure to exceed.
const SHORTEST_DOCUMENT: usize = 32;

/// At least `count` tokens of generated text.
///
/// # Errors
/// If the tokenizer fails.
pub fn builtin_text(tokenizer: &Tokenizer, count: usize) -> Result<Vec<u32>> {
    let mut documents = count / 128 + 1;
    loop {
        let tokens = tokenizer.encode(&lopper_demo::calibration_text(documents), false)?;
        if tokens.len() >= count || documents > count / SHORTEST_DOCUMENT + 1 {
            return Ok(tokens);
        }
        documents *= 2;
    }
}
