//! Losses that weigh every token alike, however large its activations: the squared error over the mean square of the target,
//! and the cosine distance `1 − ⟨y, t⟩ / (‖y‖·‖t‖)`.

use rayon::prelude::*;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// Keeps the norm of a row of zeros from dividing by zero.
const SMALLEST: f64 = 1e-12;

/// The loss of one row: its value, and `(α, β)` of its gradient `α·y + β·t`.
type OfRow = fn(&[f32], &[f32]) -> (f64, [f64; 2]);

struct RowLoss {
    target: Tensor,
    scale: f32,
    of_row: OfRow,
}

impl Op<1> for RowLoss {
    /// y, and the factors of each row's gradient.
    type Saved = (Tensor, Vec<[f64; 2]>);

    fn forward(&self, [y]: [&Tensor; 1]) -> Result<(Tensor, Self::Saved)> {
        if self.target.shape() != y.shape() {
            return Err(misfit(format!("a loss of {:?} against {:?}", y.shape(), self.target.shape())));
        }
        let pairs = y.host().par_chunks(y.width()).zip(self.target.host().par_chunks(y.width()));
        let (values, factors): (Vec<f64>, Vec<[f64; 2]>) = pairs.map(|(y, target)| (self.of_row)(y, target)).unzip();
        let sum = values.iter().sum::<f64>() * f64::from(self.scale);
        Ok((Tensor::scalar(sum as f32), (y.clone(), factors)))
    }

    fn backward(self, (y, factors): Self::Saved, upstream: Tensor, inputs: &mut Inputs) {
        let (width, scale) = (y.width(), f64::from(self.scale) * f64::from(upstream.host()[0]));
        let gradient = Tensor::filled(y.shape(), |gradient| {
            let given = y.host().par_chunks(width).zip(self.target.host().par_chunks(width)).zip(&factors);
            gradient.par_chunks_mut(width).zip(given).for_each(|(gradient, ((y, target), factors))| {
                let [a, b] = factors.map(|factor| (scale * factor) as f32);
                gradient.iter_mut().zip(y).zip(target).for_each(|((g, y), t)| *g = a * y + b * t);
            });
        });
        inputs.give(0, gradient);
    }
}

impl Tape {
    /// `scale · Σ_t ‖y_t − target_t‖² / mean(target_t²)`, a scalar; y and target [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn normalized_squared_error(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        self.apply(RowLoss { target: target.clone(), scale, of_row: normalized }, [y])
    }

    /// `scale · Σ_t (1 − cos(y_t, target_t))`, a scalar; y and target [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn cosine_distance(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        self.apply(RowLoss { target: target.clone(), scale, of_row: cosine }, [y])
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// `α = 2/p`, `β = −2/p`, p the mean square of the target.
fn normalized(y: &[f32], target: &[f32]) -> (f64, [f64; 2]) {
    let power = dot(target, target) / target.len() as f64 + SMALLEST;
    let error: f64 = y.iter().zip(target).map(|(&y, &t)| (f64::from(y) - f64::from(t)).powi(2)).sum();
    (error / power, [2.0 / power, -2.0 / power])
}

/// `α = cos/‖y‖²`, `β = −1/(‖y‖·‖t‖)`.
fn cosine(y: &[f32], target: &[f32]) -> (f64, [f64; 2]) {
    let (squared, of_target) = (dot(y, y) + SMALLEST, (dot(target, target) + SMALLEST).sqrt());
    let norms = squared.sqrt() * of_target;
    let cosine = dot(y, target) / norms;
    (1.0 - cosine, [cosine / squared, -1.0 / norms])
}
