//! What the whole model is trained to predict: the next token, or what the dense model predicts.
//!
//! Logits exist for a few hundred tokens at a time: their loss and its gradient in the states are found together, piece by piece.

use candle_core::Tensor;
use lopper_kernels::Precision;

use super::Objective;
use crate::autograd::{Gradients, Tape, Value};
use crate::calibration::HiddenStates;
use crate::error::Result;
use crate::model::HEAD_TOKENS;

/// What the predictions should be.
#[derive(Clone, Copy)]
pub enum Goal<'a> {
    /// The next token of the text: cross-entropy.
    NextToken,
    /// The probabilities of a teacher, given its states after the final norm: Kullback–Leibler divergence at a temperature.
    Probabilities(&'a HiddenStates, f32),
    /// The logits of a teacher: mean squared error.
    Logits(&'a HiddenStates),
}

/// Predictions of a model whose window ends with its final norm.
pub struct Prediction<'a> {
    /// The head [vocabulary, hidden], f32. It does not train.
    pub head: &'a Tensor,
    /// The token sequences.
    pub tokens: &'a [Vec<u32>],
    /// What they should be.
    pub goal: Goal<'a>,
}

/// Consecutive rows of a batch: those that predict something, with what they should predict.
struct Piece<'a> {
    start: usize,
    count: usize,
    next: &'a [u32],
}

impl Prediction<'_> {
    /// The rows of a batch of sequences, in pieces; the last token of a text has no next one.
    fn pieces(&self, indices: &[usize]) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for &index in indices {
            let ids = &self.tokens[index];
            for (piece, next) in ids[1..].chunks(HEAD_TOKENS).enumerate() {
                pieces.push(Piece { start: start + piece * HEAD_TOKENS, count: next.len(), next });
            }
            start += ids.len();
        }
        pieces
    }

    /// Sum of the losses of a piece, on a tape.
    fn piece(&self, tape: &mut Tape, y: &Value, piece: &Piece, teacher: Option<&Tensor>) -> Result<Value> {
        let head = self.head.into();
        let logits = tape.linear(y, &head, None, None)?;
        let of_teacher = |states: &Tensor| {
            let states = states.narrow(0, piece.start, piece.count)?.contiguous()?;
            let logits = Tape::inference(tape.precision()).linear(&states.into(), &head, None, None)?;
            Ok::<_, candle_core::Error>(logits.tensor().clone())
        };
        let teacher = teacher.map(of_teacher).transpose()?;
        Ok(match (self.goal, teacher) {
            (Goal::Probabilities(_, temperature), Some(teacher)) => {
                tape.distillation(&logits, &teacher, temperature)?
            }
            (Goal::Logits(_), Some(teacher)) => {
                tape.squared_error(&logits, &teacher, (teacher.dim(1)? as f32).recip())?
            }
            _ => tape.cross_entropy(&logits, piece.next)?,
        })
    }

    /// The states of the teacher for a batch.
    fn teacher(&self, indices: &[usize]) -> Result<Option<Tensor>> {
        match self.goal {
            Goal::NextToken => Ok(None),
            Goal::Probabilities(states, _) | Goal::Logits(states) => Ok(Some(states.batch(indices)?.0)),
        }
    }

    /// The sum of the losses over a batch, and if asked for its gradient in y times `scale`.
    fn sum(
        &self,
        y: &Tensor,
        indices: &[usize],
        precision: Precision,
        scale: Option<f32>,
    ) -> Result<(f64, Vec<Tensor>)> {
        let teacher = self.teacher(indices)?;
        let (mut sum, mut gradients, mut done) = (0.0, Vec::new(), 0);
        for piece in self.pieces(indices) {
            let rows = y.narrow(0, piece.start, piece.count)?.contiguous()?;
            let mut tape = Tape::new(precision, scale.map(|_| &rows));
            let leaf = tape.value(&rows);
            let loss = self.piece(&mut tape, &leaf, &piece, teacher.as_ref())?;
            // the cross-entropy is a mean over rows
            let terms = if matches!(self.goal, Goal::NextToken) { piece.count as f32 } else { 1.0 };
            sum += f64::from(loss.tensor().to_scalar::<f32>()?) * f64::from(terms);
            let Some(scale) = scale else { continue };
            let mut found = Gradients::default();
            tape.backward_from(&loss, Tensor::new(scale * terms, y.device())?, &mut found)?;
            gradients.extend(gap(y, done, piece.start)?);
            gradients.extend(found.take(&rows));
            done = piece.start + piece.count;
        }
        gradients.extend(if scale.is_some() { gap(y, done, y.dim(0)?)? } else { None });
        Ok((sum, gradients))
    }
}

/// The gradient of rows that predict nothing.
fn gap(y: &Tensor, start: usize, end: usize) -> Result<Option<Tensor>> {
    Ok((start < end).then(|| y.narrow(0, start, end - start)?.zeros_like()).transpose()?)
}

impl Objective for Prediction<'_> {
    fn loss(&self, tape: &mut Tape, y: &Value, indices: &[usize], scale: f32) -> Result<Value> {
        let wanted = y.is_tracked().then_some(scale);
        let (sum, gradients) = self.sum(y.tensor(), indices, tape.precision(), wanted)?;
        let loss = (sum * f64::from(scale)) as f32;
        if wanted.is_none() {
            return Ok(Tensor::new(loss, y.tensor().device())?.into());
        }
        Ok(tape.differentiated(loss, vec![(y.clone(), Tensor::cat(&gradients, 0)?)])?)
    }

    fn error(&self, y: &Tensor, indices: &[usize], precision: Precision) -> Result<(f64, usize)> {
        let terms = indices.iter().map(|&index| self.tokens[index].len() - 1).sum();
        Ok((self.sum(y, indices, precision, None)?.0, terms))
    }
}
