//! From the last hidden states to the distribution of the next token, a slice of the vocabulary at a time.

use lopper_kernels::Precision;
use rayon::prelude::*;

use super::block::Block;
use super::decoder::Decoder;
use super::pass::{Context, NoTap};
use super::sequences::Sequences;
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::tensor::Tensor;

/// Rows of the head multiplied at a time.
pub(crate) const HEAD_ROWS: usize = 8192;
/// Tokens multiplied with the head at a time.
pub(crate) const HEAD_TOKENS: usize = 512;

/// What comes after the blocks of a decoder.
pub struct Head<'a> {
    decoder: &'a Decoder,
    finish: Option<Block>,
}

/// The matrix of a head, or some rows of it, and what becomes of its products. It does not train.
pub struct HeadWeights {
    /// [ids, width], f32
    pub(super) weight: Value,
    /// `[ids]`
    pub(super) bias: Option<Value>,
    pub(super) soft_cap: Option<f32>,
}

impl HeadWeights {
    /// Logits of states [tokens, width] → [tokens, ids].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn logits(&self, tape: &mut Tape, states: &Value) -> Result<Value> {
        let logits = tape.linear(states, &self.weight, self.bias.as_ref(), None)?;
        self.soft_cap.map_or(Ok(logits.clone()), |cap| tape.soft_cap(&logits, cap))
    }
}

/// What a model says about a token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextToken {
    /// Its log-likelihood, in nats.
    pub log_likelihood: f64,
    /// The token the model finds most likely; the first of equals.
    pub most_likely: u32,
}

impl<'a> Head<'a> {
    pub(super) fn new(decoder: &'a Decoder, finish: Option<Block>) -> Self {
        Self { decoder, finish }
    }

    fn rows(&self, start: usize) -> Result<HeadWeights> {
        self.decoder.head_rows(start..self.decoder.spec().vocabulary.min(start + HEAD_ROWS))
    }

    /// The states that the matrix reads: hidden [tokens, hidden] → [tokens, width].
    fn finished(&self, hidden: &Tensor, precision: Precision) -> Result<Tensor> {
        let Some(finish) = &self.finish else { return Ok(hidden.clone()) };
        let context = Context { sequences: &Sequences::new([hidden.shape()[0]]), rotary: &[] };
        let y = finish.forward(&mut Tape::new(precision), &hidden.into(), context, &mut NoTap)?;
        Ok(y.tensor().clone())
    }

    /// All logits; hidden [tokens, hidden] → [tokens, vocabulary]. For short inputs: nothing is streamed.
    ///
    /// # Errors
    /// If the head cannot be read.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let states = self.finished(hidden, Precision::F32)?;
        let logits = self.decoder.head_weights()?.logits(&mut Tape::new(Precision::F32), &states.into())?;
        Ok(logits.tensor().clone())
    }

    /// What the model says after each token of `hidden` [tokens, hidden] about `targets`, one per token; in f64 over slices of
    /// the vocabulary.
    ///
    /// # Errors
    /// If the head cannot be read, or memory is short.
    pub fn next_tokens(&self, hidden: &Tensor, targets: &[u32], precision: Precision) -> Result<Vec<NextToken>> {
        let mut running = vec![Running::default(); targets.len()];
        pieces([(self, hidden)], precision, &mut |first, start, [logits]| {
            accumulate(logits, start, &targets[first..], &mut running[first..]);
        })?;
        Ok(running.into_iter().map(Running::finish).collect())
    }

    /// `−log p(target)` of each token of `hidden` [tokens, hidden], in f64 over slices of the vocabulary.
    ///
    /// # Errors
    /// If the head cannot be read, or memory is short.
    pub fn negative_log_likelihood(&self, hidden: &Tensor, targets: &[u32], precision: Precision) -> Result<Vec<f64>> {
        Ok(self.next_tokens(hidden, targets, precision)?.into_iter().map(|token| -token.log_likelihood).collect())
    }
}

/// Takes the logits that [`pieces`] shows: first token, first id, and the logits of each head.
type See<'a, const N: usize> = &'a mut dyn FnMut(usize, usize, [&Tensor; N]);

/// Shows `see` the logits of `hidden` [tokens, hidden] under each of some heads of one vocabulary, piece by piece: first token,
/// first id, and for each head its logits [some tokens, some ids]. The ids of a token come in ascending order.
///
/// # Errors
/// If a head cannot be read.
pub(crate) fn pieces<const N: usize>(heads: [(&Head, &Tensor); N], precision: Precision, see: See<N>) -> Result<()> {
    let states =
        heads.iter().map(|(head, hidden)| head.finished(hidden, precision)).collect::<Result<Vec<Tensor>>>()?;
    let (count, vocabulary) = (heads[0].1.shape()[0], heads[0].0.decoder.spec().vocabulary);
    for start in (0..vocabulary).step_by(HEAD_ROWS) {
        let rows = heads.iter().map(|(head, _)| head.rows(start)).collect::<Result<Vec<_>>>()?;
        for first in (0..count).step_by(HEAD_TOKENS) {
            let logits = states.iter().zip(&rows).map(|(states, rows)| {
                let tokens = states.rows(first..count.min(first + HEAD_TOKENS))?.into();
                Ok(rows.logits(&mut Tape::new(precision), &tokens)?.tensor().clone())
            });
            let logits = logits.collect::<Result<Vec<Tensor>>>()?;
            see(first, start, std::array::from_fn(|place| &logits[place]));
        }
    }
    Ok(())
}

/// What is known of a token's distribution after some slices of the vocabulary.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    /// `log Σ exp` of the logits.
    pub log_sum_exp: f64,
    target: f64,
    largest: f32,
    most_likely: u32,
}

impl Default for Running {
    fn default() -> Self {
        Self { log_sum_exp: f64::NEG_INFINITY, target: f64::NAN, largest: f32::NEG_INFINITY, most_likely: 0 }
    }
}

impl Running {
    /// What the model says, after the last slice.
    pub fn finish(self) -> NextToken {
        NextToken { log_likelihood: self.target - self.log_sum_exp, most_likely: self.most_likely }
    }

    /// Takes the slice of the vocabulary that begins at `start` into account.
    pub fn absorb(&mut self, logits: &[f32], start: usize, target: u32) {
        self.log_sum_exp = log_add(self.log_sum_exp, log_sum_exp(logits));
        let (place, largest) = largest(logits);
        if largest > self.largest {
            (self.largest, self.most_likely) = (largest, (start + place) as u32);
        }
        if let Some(&logit) = (target as usize).checked_sub(start).and_then(|i| logits.get(i)) {
            self.target = f64::from(logit);
        }
    }
}

/// `log Σ exp(logits)`.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let mut nll = [0.0];
    lopper_kernels::cross_entropy(logits, logits.len(), &[0], &mut nll);
    f64::from(nll[0]) + f64::from(logits[0])
}

/// `log(exp(a) + exp(b))`.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p()
}

/// Place and value of the largest number, the first of equals.
fn largest(numbers: &[f32]) -> (usize, f32) {
    // the maximum first: a loop without places is vectorised
    let largest = numbers.iter().fold(f32::NEG_INFINITY, |largest, &x| if x > largest { x } else { largest });
    (numbers.iter().position(|&x| x >= largest).unwrap_or(0), largest)
}

/// Adds a slice of the vocabulary beginning at `start`; logits [tokens, slice].
fn accumulate(logits: &Tensor, start: usize, targets: &[u32], running: &mut [Running]) {
    let rows = running.par_iter_mut().zip(logits.host().par_chunks(logits.width())).zip(targets);
    rows.for_each(|((token, logits), &target)| token.absorb(logits, start, target));
}
