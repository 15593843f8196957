//! Root-mean-square normalisation and its gradient.
//!
//! h = x · r · w with r = (mean(x²) + ε)^(−½) per row. B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization", 2019,
//! arXiv:1910.07467, eq. 4. Backward, with g = ∂L/∂h: ∂L/∂x = r·g·w − x·r³·mean(g·w·x) and ∂L/∂w = Σ g·x·r over rows.

use crate::dispatch::{simd, tier};
use crate::elementwise::{STRIPE, check_rows};
use crate::math::{dot, mul_add, sum};
use rayon::prelude::*;

/// Rows per parallel task.
const ROWS: usize = 16;

simd! {
    fn normalise_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
        let inverse = 1.0 / (dot::<FUSED>(x, x) / x.len() as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * inverse * weight;
        }
        inverse
    }
    fn input_gradient_row(d_out: &[f32], x: &[f32], weight: &[f32], inverse: f32, dx: &mut [f32], accumulate: bool) {
        let (mut sums, mut tail) = ([0f32; 16], 0.0);
        let chunks = (d_out.as_chunks::<16>(), weight.as_chunks::<16>(), x.as_chunks::<16>());
        for ((d_out, weight), x) in chunks.0.1.iter().zip(chunks.1.1).zip(chunks.2.1) {
            tail += d_out * weight * x;
        }
        for ((d_out, weight), x) in chunks.0.0.iter().zip(chunks.1.0).zip(chunks.2.0) {
            for i in 0..16 {
                sums[i] = mul_add::<FUSED>(d_out[i] * weight[i], x[i], sums[i]);
            }
        }
        let pull = (sum(sums) + tail) * inverse * inverse * inverse / x.len() as f32;
        for (((dx, d_out), weight), x) in dx.iter_mut().zip(d_out).zip(weight).zip(x) {
            let slope = d_out * weight * inverse - x * pull;
            *dx = if accumulate { *dx + slope } else { slope };
        }
    }
    fn weight_gradient_row(d_out: &[f32], x: &[f32], inverse: f32, sums: &mut [f64]) {
        for ((sum, d_out), x) in sums.iter_mut().zip(d_out).zip(x) {
            *sum += f64::from(d_out * x * inverse);
        }
    }
}

/// `out[r, :] = x[r, :] · inverse_rms[r] · weight[r mod k, :]`, and `inverse_rms[r] = (mean(x[r, :]²) + eps)^(−½)`.
///
/// `x` and `out` are `[rows, n]`, `weight` is `[k, n]`, `inverse_rms` is `[rows]`.
///
/// # Panics
///
/// If the lengths contradict each other.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32], inverse_rms: &mut [f32]) {
    let n = row_length("rms_norm", x.len(), weight.len(), inverse_rms.len());
    assert_eq!(out.len(), x.len(), "rms_norm: out and x differ in length");
    if x.is_empty() {
        return;
    }
    let tier = tier();
    let tasks = out.par_chunks_mut(n * ROWS).zip(inverse_rms.par_chunks_mut(ROWS)).zip(x.par_chunks(n * ROWS));
    tasks.enumerate().for_each(|(task, ((out, inverse_rms), x))| {
        let rows = out.chunks_mut(n).zip(x.chunks(n)).zip(inverse_rms).zip(weights(weight, n, task * ROWS));
        rows.for_each(|(((out, x), inverse), weight)| *inverse = normalise_row(tier, x, weight, eps, out));
    });
}

/// Gradients of [`rms_norm`] from `d_out` `[rows, n]` and what the forward pass saved.
///
/// `dx` `[rows, n]` is overwritten, or added to if `accumulate`; `d_weight` `[k, n]` is always added to.
///
/// # Panics
///
/// If the lengths contradict each other.
pub fn rms_norm_backward(
    d_out: &[f32],
    x: &[f32],
    weight: &[f32],
    inverse_rms: &[f32],
    dx: Option<&mut [f32]>,
    accumulate: bool,
    d_weight: Option<&mut [f32]>,
) {
    let n = row_length("rms_norm_backward", x.len(), weight.len(), inverse_rms.len());
    assert_eq!(d_out.len(), x.len(), "rms_norm_backward: d_out and x differ in length");
    if let Some(dx) = dx {
        assert_eq!(dx.len(), x.len(), "rms_norm_backward: dx and x differ in length");
        input_gradient(d_out, x, (weight, n), inverse_rms, dx, accumulate);
    }
    if let Some(d_weight) = d_weight {
        assert_eq!(d_weight.len(), weight.len(), "rms_norm_backward: d_weight and weight differ in length");
        weight_gradient((d_out, x, n), inverse_rms, d_weight);
    }
}

fn input_gradient(
    d_out: &[f32],
    x: &[f32],
    (weight, n): (&[f32], usize),
    inverse_rms: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    if x.is_empty() {
        return;
    }
    let tier = tier();
    let inputs = d_out.par_chunks(n * ROWS).zip(x.par_chunks(n * ROWS)).zip(inverse_rms.par_chunks(ROWS));
    dx.par_chunks_mut(n * ROWS).zip(inputs).enumerate().for_each(|(task, (dx, ((d_out, x), inverse_rms)))| {
        let rows = dx.chunks_mut(n).zip(d_out.chunks(n)).zip(x.chunks(n)).zip(inverse_rms);
        rows.zip(weights(weight, n, task * ROWS)).for_each(|((((dx, d_out), x), inverse), weight)| {
            input_gradient_row(tier, d_out, x, weight, *inverse, dx, accumulate);
        });
    });
}

fn weight_gradient((d_out, x, n): (&[f32], &[f32], usize), inverse_rms: &[f32], d_weight: &mut [f32]) {
    let (tier, parts) = (tier(), d_weight.len() / n.max(1));
    let stripes = d_weight.chunks_mut(n.max(1)).enumerate().flat_map(|(part, d_weight)| {
        d_weight.chunks_mut(STRIPE).enumerate().map(move |(stripe, d_weight)| (part, stripe * STRIPE, d_weight))
    });
    stripes.collect::<Vec<_>>().into_par_iter().for_each(|(part, start, d_weight)| {
        let mut sums = [0f64; STRIPE];
        let rows = d_out.chunks_exact(n).zip(x.chunks_exact(n)).zip(inverse_rms).skip(part).step_by(parts);
        for ((d_out, x), inverse) in rows {
            weight_gradient_row(tier, &d_out[start..], &x[start..], *inverse, &mut sums[..d_weight.len()]);
        }
        d_weight.iter_mut().zip(sums).for_each(|(d_weight, sum)| *d_weight = (f64::from(*d_weight) + sum) as f32);
    });
}

/// The weights of every row from one on.
fn weights(weight: &[f32], n: usize, row: usize) -> impl Iterator<Item = &[f32]> {
    let parts = weight.len() / n;
    weight.chunks(n).cycle().skip(row % parts)
}

/// Entries of a row.
fn row_length(kernel: &str, length: usize, of_weight: usize, rows: usize) -> usize {
    check_rows(kernel, length, of_weight);
    if rows == 0 {
        assert_eq!(length, 0, "{kernel}: rows without their inverse root mean square");
        return of_weight;
    }
    let n = length / rows;
    let is_whole = n > 0 && n * rows == length && of_weight.is_multiple_of(n);
    assert!(is_whole, "{kernel}: x is not [inverse_rms.len(), n], or the weight not [k, n]");
    n
}
