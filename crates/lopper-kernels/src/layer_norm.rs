//! Layer normalisation and its gradients.
//!
//! y = (x − μ)·r·w + b with μ = mean(x) and r = (mean((x − μ)²) + ε)^(−½) per row. J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer
//! Normalization", 2016, arXiv:1607.06450, §3. Backward, with g = ∂L/∂y and x̂ = (x − μ)·r: ∂L/∂x = r·(g·w − mean(g·w) − x̂·mean(g·w·x̂)),
//! ∂L/∂w = Σ g·x̂ and ∂L/∂b = Σ g over rows.
//!
//! A mean that is large beside the deviations does no harm: one pass over a row finds the mean, and a second one sums the deviations d
//! from the mean rounded to f32, and their squares. The mean is corrected by mean(d), and the variance is mean(d²) − mean(d)², of which
//! the second term is far below the first. The backward pass has the rounded mean only, which moves x̂ by 2⁻²⁴·|μ|·r at most.

use crate::dispatch::{simd, tier};
use crate::elementwise::{STRIPE, check_rows, column_sums};
use crate::math::{mul_add, sum};
use rayon::prelude::*;
use std::borrow::Cow;

/// Rows per parallel task.
const ROWS: usize = 16;
/// Elements summed in f32 before the sum goes on in f64.
const RUN: usize = 512;

simd! {
    fn row_sum(x: &[f32]) -> f64 {
        let mut total = 0.0;
        for run in x.chunks(RUN) {
            let ((chunks, tail), mut sums) = (run.as_chunks::<16>(), [0f32; 16]);
            sums[..tail.len()].copy_from_slice(tail);
            for x in chunks {
                for i in 0..16 {
                    sums[i] += x[i];
                }
            }
            total += f64::from(sum(sums));
        }
        total
    }
    /// (Σ d, Σ d²) of the deviations d = x − shift.
    fn moments(x: &[f32], shift: f32) -> (f64, f64) {
        let (mut first, mut second) = (0.0, 0.0);
        for run in x.chunks(RUN) {
            let ((chunks, tail), mut sums, mut squares) = (run.as_chunks::<16>(), [0f32; 16], [0f32; 16]);
            for (i, x) in tail.iter().enumerate() {
                (sums[i], squares[i]) = (x - shift, (x - shift) * (x - shift));
            }
            for x in chunks {
                for i in 0..16 {
                    let d = x[i] - shift;
                    sums[i] += d;
                    squares[i] = mul_add::<FUSED>(d, d, squares[i]);
                }
            }
            first += f64::from(sum(sums));
            second += f64::from(sum(squares));
        }
        (first, second)
    }
    /// The mean is `shift + rest`.
    fn normalise(x: &[f32], weight: &[f32], bias: &[f32], shift: f32, rest: f32, inverse: f32, out: &mut [f32]) {
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = mul_add::<FUSED>((x - shift - rest) * inverse, *weight, *bias);
        }
    }
    /// (Σ g·w, Σ g·w·(x − mean)).
    fn pulls(d_out: &[f32], weight: &[f32], x: &[f32], mean: f32) -> (f64, f64) {
        let (mut plain, mut weighted) = (0.0, 0.0);
        for ((d_out, weight), x) in d_out.chunks(RUN).zip(weight.chunks(RUN)).zip(x.chunks(RUN)) {
            let (d_out, weight, x) = (d_out.as_chunks::<16>(), weight.as_chunks::<16>(), x.as_chunks::<16>());
            let (mut sums, mut products) = ([0f32; 16], [0f32; 16]);
            for (i, ((d_out, weight), x)) in d_out.1.iter().zip(weight.1).zip(x.1).enumerate() {
                (sums[i], products[i]) = (d_out * weight, d_out * weight * (x - mean));
            }
            for ((d_out, weight), x) in d_out.0.iter().zip(weight.0).zip(x.0) {
                for i in 0..16 {
                    let slope = d_out[i] * weight[i];
                    sums[i] += slope;
                    products[i] = mul_add::<FUSED>(slope, x[i] - mean, products[i]);
                }
            }
            plain += f64::from(sum(sums));
            weighted += f64::from(sum(products));
        }
        (plain, weighted)
    }
    fn input_gradient_row(d_out: &[f32], x: &[f32], weight: &[f32], mean: f32, inverse: f32, pulls: [f32; 2], dx: &mut [f32], accumulate: bool) {
        for (((dx, d_out), weight), x) in dx.iter_mut().zip(d_out).zip(weight).zip(x) {
            let slope = inverse * (d_out * weight - pulls[0] - (x - mean) * pulls[1]);
            *dx = if accumulate { *dx + slope } else { slope };
        }
    }
    fn affine_gradient_row(d_out: &[f32], x: &[f32], mean: f32, inverse: f32, of_weight: &mut [f64], of_bias: &mut [f64]) {
        for (((of_weight, of_bias), d_out), x) in of_weight.iter_mut().zip(of_bias).zip(d_out).zip(x) {
            *of_weight += f64::from(d_out * ((x - mean) * inverse));
            *of_bias += f64::from(*d_out);
        }
    }
}

/// `out[r, :] = (x[r, :] − mean[r]) · inverse[r] · weight + bias`, with `mean[r]` the mean of `x[r, :]` and
/// `inverse[r] = (variance of x[r, :] + eps)^(−½)`. Without `weight` or `bias` it is as if they were 1 or 0 everywhere.
///
/// `x` and `out` are `[rows, n]`, `weight` and `bias` `[n]`, `mean` and `inverse` `[rows]`.
///
/// # Panics
///
/// If the lengths contradict each other.
#[allow(clippy::too_many_arguments, reason = "three inputs, their shape and three outputs")]
pub fn layer_norm(
    x: &[f32],
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    n: usize,
    eps: f32,
    out: &mut [f32],
    mean: &mut [f32],
    inverse: &mut [f32],
) {
    check_lengths("layer_norm", x, n, mean, inverse);
    assert_eq!(out.len(), x.len(), "layer_norm: out and x differ in length");
    let (weight, bias) = (or_all("layer_norm", weight, 1.0, n), or_all("layer_norm", bias, 0.0, n));
    if x.is_empty() {
        return;
    }
    let tier = tier();
    let saved = mean.par_chunks_mut(ROWS).zip(inverse.par_chunks_mut(ROWS));
    let tasks = out.par_chunks_mut(n * ROWS).zip(x.par_chunks(n * ROWS)).zip(saved);
    tasks.for_each(|((out, x), (mean, inverse))| {
        for (((out, x), mean), inverse) in out.chunks_mut(n).zip(x.chunks(n)).zip(mean).zip(inverse) {
            let shift = (row_sum(tier, x) / n as f64) as f32;
            let (first, second) = moments(tier, x, shift);
            let rest = first / n as f64;
            *mean = (f64::from(shift) + rest) as f32;
            *inverse = (second / n as f64 - rest * rest + f64::from(eps)).sqrt().recip() as f32;
            normalise(tier, x, &weight, &bias, shift, rest as f32, *inverse, out);
        }
    });
}

/// Gradients of [`layer_norm`] from `d_out` `[rows, n]` and what the forward pass saved.
///
/// `dx` `[rows, n]` is overwritten, or added to if `accumulate`; `d_weight` and `d_bias` `[n]` are always added to.
///
/// # Panics
///
/// If the lengths contradict each other.
#[allow(clippy::too_many_arguments, reason = "what the forward pass had and saved, and three gradients")]
pub fn layer_norm_backward(
    d_out: &[f32],
    x: &[f32],
    weight: Option<&[f32]>,
    mean: &[f32],
    inverse: &[f32],
    n: usize,
    dx: Option<&mut [f32]>,
    accumulate: bool,
    d_weight: Option<&mut [f32]>,
    d_bias: Option<&mut [f32]>,
) {
    check_lengths("layer_norm_backward", x, n, mean, inverse);
    assert_eq!(d_out.len(), x.len(), "layer_norm_backward: d_out and x differ in length");
    let rows = Rows { d_out, x, mean, inverse, n };
    if let Some(dx) = dx {
        assert_eq!(dx.len(), x.len(), "layer_norm_backward: dx and x differ in length");
        rows.input_gradient(&or_all("layer_norm_backward", weight, 1.0, n), dx, accumulate);
    }
    for gradient in [&d_weight, &d_bias].into_iter().flatten() {
        assert_eq!(gradient.len(), n, "layer_norm_backward: d_weight and d_bias need n entries");
    }
    match (d_weight, d_bias) {
        (Some(d_weight), Some(d_bias)) => rows.affine_gradient(d_weight, d_bias),
        (Some(d_weight), None) => rows.affine_gradient(d_weight, &mut vec![0.0; n]),
        (None, Some(d_bias)) => column_sums(d_out, d_bias),
        (None, None) => {}
    }
}

/// What the gradients are taken from: `[rows, n]` and `[rows]`.
struct Rows<'a> {
    d_out: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    inverse: &'a [f32],
    n: usize,
}

impl Rows<'_> {
    fn input_gradient(&self, weight: &[f32], dx: &mut [f32], accumulate: bool) {
        if dx.is_empty() {
            return;
        }
        let (tier, n) = (tier(), self.n);
        let inputs = self.d_out.par_chunks(n * ROWS).zip(self.x.par_chunks(n * ROWS));
        let saved = self.mean.par_chunks(ROWS).zip(self.inverse.par_chunks(ROWS));
        dx.par_chunks_mut(n * ROWS).zip(inputs).zip(saved).for_each(|((dx, (d_out, x)), (mean, inverse))| {
            let rows = dx.chunks_mut(n).zip(d_out.chunks(n)).zip(x.chunks(n)).zip(mean.iter().zip(inverse));
            for (((dx, d_out), x), (mean, inverse)) in rows {
                let (plain, weighted) = pulls(tier, d_out, weight, x, *mean);
                let square = f64::from(*inverse) * f64::from(*inverse);
                let pulls = [plain / n as f64, weighted * square / n as f64].map(|pull| pull as f32);
                input_gradient_row(tier, d_out, x, weight, *mean, *inverse, pulls, dx, accumulate);
            }
        });
    }

    fn affine_gradient(&self, d_weight: &mut [f32], d_bias: &mut [f32]) {
        let (tier, n) = (tier(), self.n);
        let stripes = d_weight.par_chunks_mut(STRIPE).zip(d_bias.par_chunks_mut(STRIPE)).enumerate();
        stripes.for_each(|(stripe, (d_weight, d_bias))| {
            let (width, mut of_weight, mut of_bias) = (d_weight.len(), [0f64; STRIPE], [0f64; STRIPE]);
            let (of_weight, of_bias) = (&mut of_weight[..width], &mut of_bias[..width]);
            let rows = self.d_out.chunks_exact(n).zip(self.x.chunks_exact(n)).zip(self.mean.iter().zip(self.inverse));
            for ((d_out, x), (mean, inverse)) in rows {
                let (d_out, x) = (&d_out[stripe * STRIPE..], &x[stripe * STRIPE..]);
                affine_gradient_row(tier, d_out, x, *mean, *inverse, of_weight, of_bias);
            }
            let add = |(gradient, sum): (&mut f32, &f64)| *gradient = (f64::from(*gradient) + sum) as f32;
            d_weight.iter_mut().zip(&*of_weight).for_each(add);
            d_bias.iter_mut().zip(&*of_bias).for_each(add);
        });
    }
}

/// `given`, or `n` times `otherwise`.
fn or_all<'a>(kernel: &str, given: Option<&'a [f32]>, otherwise: f32, n: usize) -> Cow<'a, [f32]> {
    let all = given.map_or_else(|| Cow::Owned(vec![otherwise; n]), Cow::Borrowed);
    assert_eq!(all.len(), n, "{kernel}: weight and bias need n entries");
    all
}

fn check_lengths(kernel: &str, x: &[f32], n: usize, mean: &[f32], inverse: &[f32]) {
    check_rows(kernel, x.len(), n);
    assert_eq!(x.len(), n * mean.len(), "{kernel}: x is not [mean.len(), n]");
    assert_eq!(inverse.len(), mean.len(), "{kernel}: mean and inverse differ in length");
}
