//! What the whole model is trained to predict: the next token, or what the dense model predicts.
//!
//! Logits exist for a few hundred tokens at a time: their loss and its gradient in the states are found together, piece by piece.

use lopper_kernels::Precision;

use super::Objective;
use crate::autograd::{Gradients, Tape, Value};
use crate::calibration::HiddenStates;
use crate::error::{Error, Result};
use crate::model::{HEAD_TOKENS, HeadWeights};
use crate::tensor::Tensor;

/// Key of the states that a piece reads, on a tape of its own.
const STATES: usize = 0;

/// What the predictions should be.
#[derive(Clone, Copy)]
pub enum Goal<'a> {
    /// The next token of the text: cross-entropy.
    NextToken,
    /// The probabilities of a teacher, given the states that its head reads: Kullback–Leibler divergence at a temperature.
    Probabilities(&'a HiddenStates, f32),
    /// The logits of a teacher: mean squared error.
    Logits(&'a HiddenStates),
}

/// Predictions of a model whose window ends with what its head reads.
pub struct Prediction<'a> {
    /// The head, which does not train.
    pub head: &'a HeadWeights,
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
        let logits = self.head.logits(tape, y)?;
        let of_teacher = |states: &Tensor| {
            let states = states.rows(piece.start..piece.start + piece.count)?;
            let logits = self.head.logits(&mut Tape::new(tape.precision()), &states.into())?;
            Ok::<_, Error>(logits.tensor().clone())
        };
        let teacher = teacher.map(of_teacher).transpose()?;
        match (self.goal, teacher) {
            (Goal::Probabilities(_, temperature), Some(teacher)) => tape.distillation(&logits, &teacher, temperature),
            (Goal::Logits(_), Some(teacher)) => tape.squared_error(&logits, &teacher, (teacher.width() as f32).recip()),
            _ => tape.cross_entropy(&logits, piece.next),
        }
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
            let rows = y.rows(piece.start..piece.start + piece.count)?;
            let mut tape = Tape::new(precision);
            let states = if scale.is_some() { tape.leaf(STATES, &rows) } else { rows.into() };
            let loss = self.piece(&mut tape, &states, &piece, teacher.as_ref())?;
            // the cross-entropy is a mean over rows
            let terms = if matches!(self.goal, Goal::NextToken) { piece.count as f32 } else { 1.0 };
            sum += f64::from(loss.tensor().item()?) * f64::from(terms);
            let Some(scale) = scale else { continue };
            let mut found = Gradients::default();
            tape.backward_from(&loss, Tensor::scalar(scale * terms), &mut found)?;
            gradients.extend(gap(y, done, piece.start));
            gradients.extend(found.take(STATES));
            done = piece.start + piece.count;
        }
        gradients.extend(scale.and_then(|_| gap(y, done, y.shape()[0])));
        Ok((sum, gradients))
    }
}

/// The gradient of rows that predict nothing.
fn gap(y: &Tensor, start: usize, end: usize) -> Option<Tensor> {
    (start < end).then(|| Tensor::zeros([end - start, y.width()]))
}

impl Objective for Prediction<'_> {
    fn loss(&self, tape: &mut Tape, y: &Value, indices: &[usize], scale: f32) -> Result<Value> {
        let wanted = y.is_tracked().then_some(scale);
        let (sum, gradients) = self.sum(y.tensor(), indices, tape.precision(), wanted)?;
        let loss = (sum * f64::from(scale)) as f32;
        if wanted.is_none() {
            return Ok(Tensor::scalar(loss).into());
        }
        tape.differentiated(y, loss, Tensor::stack(&gradients)?)
    }

    fn error(&self, y: &Tensor, indices: &[usize], precision: Precision) -> Result<(f64, usize)> {
        let terms = indices.iter().map(|&index| self.tokens[index].len() - 1).sum();
        Ok((self.sum(y, indices, precision, None)?.0, terms))
    }
}
