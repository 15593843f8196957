//! The soft cap of logits and of attention scores: y = c·tanh(x / c), within ±c (Gemma Team 2024, arXiv 2408.00118, §2).

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use crate::math::tanh;
use rayon::prelude::*;

simd! {
    /// Replaces each x of a row by `cap·tanh(scale·x / cap)`.
    pub(crate) fn cap_row(row: &mut [f32], scale: f32, cap: f32) {
        let inverse = scale / cap;
        for x in row {
            *x = cap * tanh::<FUSED>(*x * inverse);
        }
    }
    /// Turns the gradient of what [`cap_row`] gave, `capped`, less `pull`, into that of the scaled row.
    pub(crate) fn uncap_row(capped: &[f32], gradient: &mut [f32], cap: f32, pull: f32) {
        let inverse = 1.0 / cap;
        for (gradient, capped) in gradient.iter_mut().zip(capped) {
            let share = capped * inverse;
            *gradient = (*gradient - pull) * (1.0 - share * share);
        }
    }
}

/// Replaces each x by `cap·tanh(x / cap)`.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let tier = tier();
    x.par_chunks_mut(CHUNK).for_each(|x| cap_row(tier, x, 1.0, cap));
}

/// Turns the gradient of what [`soft_cap`] gave, `y`, into that of what it was given: times `1 − (y / cap)²`.
///
/// # Panics
///
/// If the lengths differ.
pub fn soft_cap_backward(y: &[f32], gradient: &mut [f32], cap: f32) {
    assert_eq!(y.len(), gradient.len(), "soft_cap_backward: the slices differ in length");
    let tier = tier();
    gradient
        .par_chunks_mut(CHUNK)
        .zip(y.par_chunks(CHUNK))
        .for_each(|(gradient, y)| uncap_row(tier, y, gradient, cap, 0.0));
}
