//! The error that a layer problem is about, for any candidate.

use lopper_kernels::{Precision, View, product};

use super::slab;
use crate::linalg::Gram;

/// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖² = tr((W − Ŵ)G(W − Ŵ)ᵀ) / tr(WGWᵀ)` for any Ŵ.
pub struct OutputError<'a> {
    weight: &'a [f32],
    gram: Vec<f32>,
    order: usize,
    whole: f64,
}

impl<'a> OutputError<'a> {
    /// Of candidates for `weight` [d_out, d_in], G [d_in, d_in].
    pub fn new(weight: &'a [f32], gram: &Gram) -> Self {
        let (gram, order) = (gram.damped(0.0), gram.order());
        let whole = quadratic(weight, &gram, order);
        Self { weight, gram, order, whole }
    }

    /// The relative error of a candidate [d_out, d_in]; 0 where W itself gives nothing.
    pub fn relative(&self, candidate: &[f32]) -> f64 {
        let difference: Vec<f32> = self.weight.iter().zip(candidate).map(|(w, c)| w - c).collect();
        let error = quadratic(&difference, &self.gram, self.order);
        // rounding can make a tiny square negative; a NaN must stay one
        if self.whole > 0.0 { if error < 0.0 { 0.0 } else { error / self.whole } } else { 0.0 }
    }
}

/// `tr(W·G·Wᵀ)`.
fn quadratic(weight: &[f32], g: &[f32], n: usize) -> f64 {
    let of = |weight: &[f32]| -> f64 {
        let image = product(View::new(weight, weight.len() / n, n), View::new(g, n, n), Precision::F32);
        weight.iter().zip(&image).map(|(&w, &i)| f64::from(w) * f64::from(i)).sum()
    };
    weight.chunks(slab(n)).map(of).sum()
}
