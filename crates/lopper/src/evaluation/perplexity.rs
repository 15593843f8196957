//! Perplexity of a text by the convention of GPTQ, SparseGPT and Wanda: non-overlapping windows, the remainder dropped,
//! `exp` of the mean over windows of the mean negative log-likelihood of a window's predictions.

use candle_core::Tensor;
use lopper_kernels::Precision;

use crate::autograd::Tape;
use crate::calibration::{HiddenDtype, HiddenStates};
use crate::error::{Error, Result};
use crate::model::{Decoder, NoTap, Sequences};

/// Hidden states held at a time, in bytes; more windows are evaluated in several passes over the blocks.
pub(crate) const GROUP_BYTES: usize = 192 << 20;

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
    let length = windows.length;
    let samples: Vec<Vec<u32>> =
        tokens.chunks_exact(length.max(2)).take(windows.count.unwrap_or(usize::MAX)).map(<[u32]>::to_vec).collect();
    if samples.is_empty() {
        return Err(Error::Text {
            problem: format!("the text has {} tokens, fewer than one window of {length}", tokens.len()),
            hint: Some("give a longer text, or shorter windows with --seqlen".into()),
        });
    }
    let group = (GROUP_BYTES / (4 * length * decoder.spec().hidden)).max(1);
    let mut nll = Vec::with_capacity(samples.len());
    for part in samples.chunks(group) {
        let (done, share) = (nll.len() as f64 / samples.len() as f64, part.len() as f64 / samples.len() as f64);
        nll.extend(score(decoder, part, precision, &mut |fraction| progress(done + share * fraction))?);
    }
    let mean = nll.iter().sum::<f64>() / nll.len() as f64;
    Ok(Perplexity { perplexity: mean.exp(), windows: nll.len(), seqlen: length, nll })
}

/// Mean negative log-likelihood of each sequence; every block is loaded once.
fn score(
    decoder: &Decoder,
    samples: &[Vec<u32>],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<f64>> {
    let mut states = HiddenStates::embed(decoder, samples, HiddenDtype::F32)?;
    let longest = samples.iter().map(Vec::len).max().unwrap_or(0);
    let rotary = decoder.rotary(longest)?;
    let blocks = decoder.spec().blocks;
    for index in 0..blocks {
        let block = decoder.load_block(index)?;
        let forward = |x: &Tensor, sequences: &Sequences| {
            let y = block.forward(&mut Tape::inference(precision), &x.into(), sequences, &rotary, &mut NoTap)?;
            Ok((y.tensor().clone(), ()))
        };
        states.advance(1, forward, |_, ()| Ok(()))?;
        progress((index + 1) as f64 / (blocks + 1) as f64);
    }
    let head = decoder.head()?;
    let mut means = Vec::with_capacity(samples.len());
    for (indices, samples) in
        crate::calibration::batches(samples.len(), HEAD_SEQUENCES).zip(samples.chunks(HEAD_SEQUENCES))
    {
        let (hidden, sequences) = states.batch(&indices)?;
        // the last token of a sequence predicts nothing; its own id stands in as a target that is not counted
        let targets: Vec<u32> =
            samples.iter().flat_map(|ids| ids[1..].iter().copied().chain([ids[ids.len() - 1]])).collect();
        let nll = head.negative_log_likelihood(&hidden, &targets, precision)?;
        means.extend(
            sequences.ranges().map(|rows| nll[rows.start..rows.end - 1].iter().sum::<f64>() / (rows.len() - 1) as f64),
        );
    }
    progress(1.0);
    Ok(means)
}

/// Sequences whose hidden states meet the head together.
pub(crate) const HEAD_SEQUENCES: usize = 8;
