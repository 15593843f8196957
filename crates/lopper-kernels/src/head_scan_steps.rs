//! Steps of scans by heads, and what is done to rows on the way.

use crate::dispatch::{Tier, simd};
use crate::math::{dot, exp};
use crate::scan::{CHUNK, Chunk, softplus};
use crate::tile::{Extent, Left, Right, multiply};

/// What the steps of heads are made of.
pub(crate) struct StepInputs<'a> {
    /// s [tokens, heads]
    pub step: &'a [f32],
    /// a, of which A is −eᵃ `[heads]`
    pub decay: &'a [f32],
    /// What is added to s `[heads]`.
    pub bias: &'a [f32],
    /// The smallest and the largest Δ.
    pub limits: [f32; 2],
}

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
    /// Those of a head in a chunk.
    pub fn of(tier: Tier, inputs: &StepInputs, chunk: Chunk, head: usize) -> Self {
        let (mut raw, heads) = ([0.0; CHUNK], inputs.bias.len());
        for (raw, token) in raw.iter_mut().zip(chunk.start..chunk.end) {
            *raw = inputs.step[token * heads + head] + inputs.bias[head];
        }
        let rate = -inputs.decay[head].exp();
        let mut steps = Self { delta: [0.0; CHUNK], slope: [0.0; CHUNK], fall: [0.0; CHUNK], rate };
        steps_of(tier, &raw, &inputs.limits, &mut steps.delta, &mut steps.slope);
        let mut sum = 0.0;
        for (fall, delta) in steps.fall.iter_mut().zip(steps.delta) {
            sum += f64::from(delta) * f64::from(rate);
            *fall = sum;
        }
        steps
    }

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
    fn steps_of(raw: &[f32; CHUNK], limits: &[f32; 2], delta: &mut [f32; CHUNK], slope: &mut [f32; CHUNK]) {
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
    /// Σ aᵢ·bᵢ
    pub(crate) fn product_of(a: &[f32], b: &[f32]) -> f32 {
        dot::<FUSED>(a, b)
    }
}

/// out [m, n] (+)= a [m, k]·b [k, n]
pub(crate) fn product(tier: Tier, [m, n, k]: [usize; 3], a: Left, b: Right, out: &mut [f32], accumulate: bool) {
    multiply(tier, Extent { m, n, k }, a, b, out, n, accumulate);
}

/// Rows of `columns`, which start `leading` apart, each times a factor [factors, width].
pub(crate) fn gathered(tier: Tier, columns: &[f32], [leading, width]: [usize; 2], factors: &[f32]) -> Vec<f32> {
    let mut rows = vec![0.0; factors.len() * width];
    for ((out, row), factor) in rows.chunks_mut(width).zip(columns.chunks(leading)).zip(factors) {
        scaled(tier, &row[..width], *factor, out);
    }
    rows
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
