//! The soft cap of logits: y = c·tanh(x / c), within ±c (Gemma Team 2024, arXiv 2408.00118, §2).

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use crate::math::tanh;
use rayon::prelude::*;

simd! {
    fn forward_chunk(x: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for x in x {
            *x = cap * tanh::<FUSED>(*x * inverse);
        }
    }
    fn backward_chunk(y: &[f32], gradient: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for (gradient, y) in gradient.iter_mut().zip(y) {
            let share = y * inverse;
            *gradient *= 1.0 - share * share;
        }
    }
}

/// Replaces each x by `cap·tanh(x / cap)`.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    let tier = tier();
    x.par_chunks_mut(CHUNK).for_each(|x| forward_chunk(tier, x, cap));
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
        .for_each(|(gradient, y)| backward_chunk(tier, y, gradient, cap));
}
