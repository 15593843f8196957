//! Sums, products and masks, element by element or column by column.

use crate::dispatch::{simd, tier};
use rayon::prelude::*;

/// Elements per parallel task of an elementwise kernel.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Columns per parallel task of a reduction over rows.
pub(crate) const STRIPE: usize = 128;

simd! {
    fn add_chunk(out: &mut [f32], a: &[f32]) {
        for (out, a) in out.iter_mut().zip(a) {
            *out += a;
        }
    }
    fn multiply_chunk(out: &mut [f32], a: &[f32]) {
        for (out, a) in out.iter_mut().zip(a) {
            *out *= a;
        }
    }
    fn mask_chunk(weight: &mut [f32], mask: &[u8]) {
        for (weight, kept) in weight.iter_mut().zip(mask) {
            *weight = if *kept == 0 { 0.0 } else { *weight };
        }
    }
    fn add_row_f64(sums: &mut [f64], row: &[f32]) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    fn add_squares_f64(sums: &mut [f64], row: &[f32]) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
}

/// `out += a`.
///
/// # Panics
///
/// If the lengths differ.
pub fn add_assign(out: &mut [f32], a: &[f32]) {
    assert_eq!(out.len(), a.len(), "add_assign: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).for_each(|(out, a)| add_chunk(tier, out, a));
}

/// `out *= a`, element by element.
///
/// # Panics
///
/// If the lengths differ.
pub fn multiply_assign(out: &mut [f32], a: &[f32]) {
    assert_eq!(out.len(), a.len(), "multiply_assign: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).for_each(|(out, a)| multiply_chunk(tier, out, a));
}

/// Sets `weight` to +0 where `mask` is 0 and leaves it alone elsewhere.
///
/// # Panics
///
/// If the lengths differ.
pub fn apply_mask(weight: &mut [f32], mask: &[u8]) {
    assert_eq!(weight.len(), mask.len(), "apply_mask: weight and mask differ in length");
    let tier = tier();
    weight.par_chunks_mut(CHUNK).zip(mask.par_chunks(CHUNK)).for_each(|(weight, mask)| mask_chunk(tier, weight, mask));
}

/// `out[r, :] += bias` for every row of `out`, `[rows, bias.len()]`.
///
/// # Panics
///
/// If `out` is not whole rows.
pub fn add_bias(out: &mut [f32], bias: &[f32]) {
    let n = bias.len();
    check_rows("add_bias", out.len(), n);
    if n == 0 {
        return;
    }
    let tier = tier();
    out.par_chunks_mut(n * (CHUNK / n).max(1))
        .for_each(|rows| rows.chunks_mut(n).for_each(|row| add_chunk(tier, row, bias)));
}

/// `out[j] += Σ_r x[r, j]` for `x` of `[rows, out.len()]`: the gradient of a bias. Sums in f64.
///
/// # Panics
///
/// If `x` is not whole rows.
pub fn column_sums(x: &[f32], out: &mut [f32]) {
    let n = out.len();
    check_rows("column_sums", x.len(), n);
    let tier = tier();
    out.par_chunks_mut(STRIPE).enumerate().for_each(|(stripe, out)| {
        let mut sums = [0f64; STRIPE];
        x.chunks_exact(n).for_each(|row| add_row_f64(tier, &mut sums[..out.len()], &row[stripe * STRIPE..]));
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (f64::from(*out) + sum) as f32);
    });
}

/// `out[j] += Σ_r x[r, j]²` for `x` of `[rows, n]`: squared column norms, in f64.
///
/// # Panics
///
/// If `x` is not whole rows or `out` is not `n` long.
pub fn column_squares(x: &[f32], n: usize, out: &mut [f64]) {
    assert_eq!(out.len(), n, "column_squares: out needs one entry per column");
    check_rows("column_squares", x.len(), n);
    let tier = tier();
    out.par_chunks_mut(STRIPE).enumerate().for_each(|(stripe, out)| {
        x.chunks_exact(n).for_each(|row| add_squares_f64(tier, out, &row[stripe * STRIPE..]));
    });
}

/// Asserts that `length` is a whole number of rows of `n`.
pub(crate) fn check_rows(kernel: &str, length: usize, n: usize) {
    assert!(
        if n == 0 { length == 0 } else { length.is_multiple_of(n) },
        "{kernel}: {length} elements are not whole rows of {n}"
    );
}
