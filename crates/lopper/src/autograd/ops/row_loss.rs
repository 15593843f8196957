//! Losses that weigh every token alike, however large its activations: the squared error over the mean square of the target,
//! and the cosine distance `1 − ⟨y, t⟩ / (‖y‖·‖t‖)`.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::autograd::storage::{fill, read};
use crate::autograd::tape::{Tape, Value};

/// Keeps the norm of a row of zeros from dividing by zero.
const SMALLEST: f64 = 1e-12;

/// A loss of one row: its value, and `(α, β)` of its gradient `α·y + β·t`.
type RowLoss = fn(&[f32], &[f32]) -> (f64, [f64; 2]);

impl Tape {
    /// `scale · Σ_t ‖y_t − target_t‖² / mean(target_t²)`, a scalar; y and target [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn normalized_squared_error(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        if self.is_fused(y) {
            return self.row_loss(y, target, scale, normalized);
        }
        let power = (target.sqr()?.mean_keepdim(D::Minus1)? + SMALLEST)?;
        self.candle([y], |[y]| (y - target)?.sqr()?.broadcast_div(&power)?.sum_all()? * f64::from(scale))
    }

    /// `scale · Σ_t (1 − cos(y_t, target_t))`, a scalar; y and target [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn cosine_distance(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        if self.is_fused(y) {
            return self.row_loss(y, target, scale, cosine);
        }
        let norm = |x: &Tensor| (x.sqr()?.sum(D::Minus1)? + SMALLEST)?.sqrt();
        let of_target = norm(target)?;
        self.candle([y], |[y]| {
            let cosine = ((&y * target)?.sum(D::Minus1)? / (norm(&y)? * &of_target)?)?;
            cosine.affine(-1.0, 1.0)?.sum_all()? * f64::from(scale)
        })
    }

    fn row_loss(&mut self, y: &Value, target: &Tensor, scale: f32, loss: RowLoss) -> Result<Value> {
        let width = y.tensor().dim(D::Minus1)?;
        if target.shape() != y.tensor().shape() {
            candle_core::bail!("a loss of {:?} against {:?}", y.tensor().dims(), target.dims());
        }
        let rows: Vec<(f64, [f64; 2])> = read([y.tensor(), target], |[y, target]| {
            y.par_chunks(width).zip(target.par_chunks(width)).map(|(y, target)| loss(y, target)).collect()
        })?;
        let sum = rows.iter().map(|(value, _)| value).sum::<f64>() * f64::from(scale);
        let (owned, target) = (y.clone(), target.clone());
        Ok(self.push(Tensor::new(sum as f32, y.tensor().device())?, &[y], move |upstream, sink| {
            let scale = f64::from(scale) * f64::from(upstream.to_scalar::<f32>()?);
            let gradient = read([owned.tensor(), &target], |[y, target]| {
                fill(owned.tensor().shape(), |gradient| {
                    let given = y.par_chunks(width).zip(target.par_chunks(width)).zip(&rows);
                    gradient.par_chunks_mut(width).zip(given).for_each(|(gradient, ((y, target), (_, factors)))| {
                        let [a, b] = factors.map(|factor| (scale * factor) as f32);
                        gradient.iter_mut().zip(y).zip(target).for_each(|((g, y), t)| *g = a * y + b * t);
                    });
                })
            })??;
            sink.give(&owned, gradient)
        }))
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
