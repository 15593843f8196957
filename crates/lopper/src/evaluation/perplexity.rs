//! Perplexity of a text by the convention of GPTQ, SparseGPT and Wanda: non-overlapping windows, the remainder dropped,
//! `exp` of the mean over windows of the mean negative log-likelihood of a window's predictions.

use lopper_kernels::Precision;

use super::forward::{Passage, next_tokens};
use super::texts::ScoredText;
use crate::error::Result;
use crate::model::Decoder;

/// Which tokens are scored.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Tokens per window, at least 2.
    pub length: usize,
    /// At most so many windows, from the beginning; all if absent.
    pub count: Option<usize>,
}

/// Perplexity of a text under a model.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Perplexity {
    /// `exp(mean of the windows' means)`.
    pub perplexity: f64,
    /// Number of windows.
    pub windows: usize,
    /// Tokens per window.
    pub seqlen: usize,
    /// Mean negative log-likelihood of each window, in nats.
    pub nll: Vec<f64>,
}

impl Perplexity {
    pub(super) fn new(nll: Vec<f64>, seqlen: usize) -> Self {
        let mean = nll.iter().sum::<f64>() / nll.len() as f64;
        Self { perplexity: mean.exp(), windows: nll.len(), seqlen, nll }
    }
}

/// The windows of a text, every token but the first asked for.
pub(super) fn passages(text: &ScoredText) -> impl Iterator<Item = Passage> + '_ {
    let windows = text.tokens.chunks_exact(text.windows.length).take(text.windows.count.unwrap_or(usize::MAX));
    windows.map(|window| Passage { tokens: window.to_vec(), first: 1 })
}

/// Cuts `tokens` into windows and scores them.
///
/// # Errors
/// If there is no whole window, or the model cannot be read.
pub fn perplexity(
    decoder: &Decoder,
    tokens: &[u32],
    windows: Windows,
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Perplexity> {
    let text = ScoredText::new("the text".into(), tokens.to_vec(), windows)?;
    Ok(perplexities(decoder, &[text], precision, progress)?.remove(0))
}

/// Scores several texts in one pass over the model.
///
/// # Errors
/// If the model cannot be read.
pub fn perplexities(
    decoder: &Decoder,
    texts: &[ScoredText],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Perplexity>> {
    let all: Vec<Passage> = texts.iter().flat_map(passages).collect();
    let said = next_tokens(decoder, &all, precision, progress)?;
    let mut means = said.iter().map(|said| {
        let total: f64 = said.iter().map(|token| -token.log_likelihood).sum();
        total / said.len() as f64
    });
    let score = |text: &ScoredText| {
        let nll = means.by_ref().take(passages(text).count()).collect();
        Perplexity::new(nll, text.windows.length)
    };
    Ok(texts.iter().map(score).collect())
}
