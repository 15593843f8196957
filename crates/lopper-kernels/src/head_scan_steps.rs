//! Steps of the scan by heads, and what is done to rows on the way.

use crate::dispatch::simd;
use crate::math::exp;
use crate::scan::{CHUNK, softplus};

/// The steps of a head within a chunk.
pub(crate) struct Steps {
    /// Δ
    pub delta: [f32; CHUNK],
    /// ∂Δ/∂s
    pub slope: [f32; CHUNK],
    /// Σ Δ·A from the start of the chunk, that of the token included. Differences of these count, hence f64.
    pub fall: [f64; CHUNK],
    /// A
    pub rate: f32,
}

impl Steps {
    /// How much of what a token adds is left at the end of a chunk of so many.
    pub fn remains(&self, token: usize, length: usize) -> f32 {
        (self.fall[length - 1] - self.fall[token]).exp() as f32
    }

    /// How much of the state before the chunk is left at a token.
    pub fn left(&self, token: usize) -> f32 {
        self.fall[token].exp() as f32
    }
}

simd! {
    /// Δ of a chunk, and its slope.
    pub(crate) fn steps_of(raw: &[f32; CHUNK], limits: &[f32; 2], delta: &mut [f32; CHUNK], slope: &mut [f32; CHUNK]) {
        let [least, most] = *limits;
        for i in 0..CHUNK {
            let free = softplus::<FUSED>(raw[i]);
            let above = if free > least { free } else { least };
            delta[i] = if above < most { above } else { most };
            let inside = if free >= least && free <= most { 1.0 } else { 0.0 };
            slope[i] = inside / (1.0 + exp::<FUSED>(-raw[i]));
        }
    }
    /// What is left of what each token adds when another one reads it, with `fall` of that one.
    pub(crate) fn remainders(falls: &[f64], fall: f64, out: &mut [f32]) {
        for (out, before) in out.iter_mut().zip(falls) {
            *out = exp::<FUSED>((fall - before) as f32);
        }
    }
    /// out = factor·x
    pub(crate) fn scaled(x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = factor * x;
        }
    }
    /// out += factor·x
    pub(crate) fn add_scaled(x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out += factor * x;
        }
    }
    pub(crate) fn multiply_all(factor: f32, x: &mut [f32]) {
        for x in x {
            *x *= factor;
        }
    }
}

/// The transpose [columns, rows] of rows that start `leading` apart.
pub(crate) fn transposed(data: &[f32], leading: usize, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut turned = vec![0.0; rows * columns];
    for row in 0..rows {
        let from = &data[row * leading..][..columns];
        turned.iter_mut().skip(row).step_by(rows).zip(from).for_each(|(out, x)| *out = *x);
    }
    turned
}
