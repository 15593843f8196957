//! The error that a layer problem is about, for any candidate.

use lopper_kernels::{Precision, View, product};

use super::problem::slab;
use crate::linalg::Gram;
use crate::tensor::Tensor;

/// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖² = tr((W − Ŵ)G(W − Ŵ)ᵀ) / tr(WGWᵀ)` for any Ŵ.
pub struct OutputError<'a> {
    weight: &'a Tensor,
    gram: Tensor,
    whole: f64,
}

impl<'a> OutputError<'a> {
    /// Of candidates for `weight` [d_out, d_in], G [d_in, d_in].
    pub fn new(weight: &'a Tensor, gram: &Gram) -> Self {
        let gram = gram.damped(0.0);
        let whole = quadratic(weight.host(), &gram);
        Self { weight, gram, whole }
    }

    /// The relative error of a candidate [d_out, d_in]; 0 where W itself gives nothing.
    pub fn relative(&self, candidate: &Tensor) -> f64 {
        let difference: Vec<f32> = self.weight.host().iter().zip(candidate.host()).map(|(w, c)| w - c).collect();
        let error = quadratic(&difference, &self.gram);
        // rounding can make a tiny square negative; a NaN must stay one
        if self.whole > 0.0 { if error < 0.0 { 0.0 } else { error / self.whole } } else { 0.0 }
    }
}

/// `tr(W·G·Wᵀ)` for W [d_out, d_in], row-major.
fn quadratic(weight: &[f32], gram: &Tensor) -> f64 {
    let (g, n) = (gram.host(), gram.width());
    let of = |weight: &[f32]| -> f64 {
        let image = product(View::new(weight, weight.len() / n, n), View::new(g, n, n), Precision::F32);
        weight.iter().zip(&image).map(|(&w, &i)| f64::from(w) * f64::from(i)).sum()
    };
    weight.chunks(slab(n)).map(of).sum()
}
