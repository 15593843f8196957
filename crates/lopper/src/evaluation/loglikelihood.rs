//! The log-likelihood of a continuation after a context, tokenised as lm-evaluation-harness 0.4 does it.
//!
//! The continuation's tokens are those of `encode(context + continuation)` after as many as `encode(context)` has; white space at the
//! end of the context moves to the continuation before that; after an empty context the continuation stands behind the token that
//! begins a text (BOS, or EOS in a tokenizer without one); what is too long for the model loses tokens on the left. Contexts get the
//! special tokens of the model's own tokenizer, so a BOS where the model was trained with one.

use std::path::Path;

use lopper_kernels::Precision;

use super::forward::{Passage, next_tokens};
use crate::error::{Error, Result};
use crate::model::{Decoder, DecoderSpec, NextToken};
use crate::text::{SpecialTokens, Tokenizer};

/// What a model thinks of a continuation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// Σ log p of its tokens, in nats.
    pub log_likelihood: f64,
    /// Whether greedy decoding gives it.
    pub greedy: bool,
}

/// Context and continuation to tokens.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// What stands before a continuation without a context.
    prefix: u32,
    /// How the prefix is spelt; a text that begins with it gets no other special tokens.
    spelling: Option<String>,
    /// Tokens that the model reads at most.
    limit: usize,
}

impl<'a> Encoder<'a> {
    /// For a model in a directory.
    ///
    /// # Errors
    /// If neither BOS nor EOS is known.
    pub fn open(directory: &Path, tokenizer: &'a Tokenizer, spec: &DecoderSpec) -> Result<Self> {
        let special = SpecialTokens::read(directory, tokenizer)?;
        let prefix = special.begin.or(special.end).ok_or_else(|| Error::Text {
            problem: format!("{}: neither a BOS nor an EOS token is known", directory.display()),
            hint: Some("copy the model's tokenizer_config.json, or set bos_token_id in config.json".into()),
        })?;
        Ok(Self::new(tokenizer, prefix, spec.max_positions))
    }

    /// With the token `prefix` before continuations without a context, for a model that reads `limit` tokens at most.
    pub fn new(tokenizer: &'a Tokenizer, prefix: u32, limit: usize) -> Self {
        let spelling = tokenizer.decode(&[prefix], false).ok().filter(|text| !text.is_empty());
        Self { tokenizer, prefix, spelling, limit }
    }

    /// The tokens of a context and what is asked for after it.
    ///
    /// # Errors
    /// If the tokenizer fails, the continuation has no token of its own, or is too long for the model.
    pub fn encode(&self, context: &str, continuation: &str) -> Result<Passage> {
        let kept = context.trim_end();
        let moved = format!("{}{continuation}", &context[kept.len()..]);
        let (before, after) = if kept.is_empty() { self.without_context(&moved)? } else { self.split(kept, &moved)? };
        self.passage(before, &after)
    }

    fn without_context(&self, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let tokens = self.tokenizer.encode(continuation, false)?;
        Ok(match tokens.split_first() {
            Some((&first, rest)) if first == self.prefix => (vec![first], rest.to_vec()),
            _ => (vec![self.prefix], tokens),
        })
    }

    fn split(&self, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let before = self.text(context)?;
        if before.is_empty() {
            // a tokenizer may drop all of a context, such as spaces of no width
            return self.without_context(continuation);
        }
        let mut after = self.text(&format!("{context}{continuation}"))?;
        after.drain(..before.len().min(after.len()));
        Ok((before, after))
    }

    fn text(&self, text: &str) -> Result<Vec<u32>> {
        let has_prefix = self.spelling.as_ref().is_some_and(|spelling| text.starts_with(spelling));
        self.tokenizer.encode(text, !has_prefix)
    }

    /// As much of both as the model can read.
    fn passage(&self, mut tokens: Vec<u32>, after: &[u32]) -> Result<Passage> {
        let fault = |problem: String| Error::Text { problem, hint: None };
        if after.is_empty() {
            return Err(fault("the tokenizer leaves nothing of a continuation: it merges with its context".into()));
        }
        if after.len() > self.limit {
            let problem = format!("a continuation has {} tokens, the model reads {} at most", after.len(), self.limit);
            return Err(fault(problem));
        }
        tokens.extend_from_slice(after);
        let first = tokens.len() - after.len();
        let surplus = tokens.len().saturating_sub(self.limit + 1);
        Ok(Passage { tokens: tokens.split_off(surplus), first: first - surplus })
    }
}

/// What the model thinks of each passage's targets.
///
/// # Errors
/// If the model cannot be read, memory is short, or a log-likelihood is not a number.
pub fn log_likelihoods(
    decoder: &Decoder,
    passages: &[Passage],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Answer>> {
    let said = next_tokens(decoder, passages, precision, progress)?;
    said.iter().zip(passages).map(|(said, passage)| answer(said, passage.targets())).collect()
}

/// Of a model that overflows.
pub(super) fn not_a_number() -> Error {
    Error::Numeric {
        problem: "the model gives a log-likelihood that is not a number".into(),
        hint: Some("its weights or activations overflow; try --dtype f32".into()),
    }
}

fn answer(said: &[NextToken], targets: &[u32]) -> Result<Answer> {
    let log_likelihood: f64 = said.iter().map(|token| token.log_likelihood).sum();
    if log_likelihood.is_nan() {
        return Err(not_a_number());
    }
    let greedy = said.iter().zip(targets).all(|(token, &target)| token.most_likely == target);
    Ok(Answer { log_likelihood, greedy })
}
