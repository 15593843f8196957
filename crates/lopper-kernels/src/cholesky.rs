//! Cholesky factorisation in f64, from the last row up: `A = SᵀS` with S lower triangular.
//!
//! A row of S is known as soon as the rows below it are, and everything is done on whole rows of the lower triangle. So nothing is
//! transposed, and S⁻ᵀ is the factor of the inverse that pruning works with. Rows are taken [`ROWS`] at a time; what they take off the rest
//! of the triangle is a product of blocks whose sums stay in registers.

use rayon::prelude::*;

use crate::dispatch::{simd, tier};
use crate::math::mul_add_f64 as mul_add;

/// Rows that are factorised before the rest of the triangle is brought up to date: a multiple of [`STRIP`].
const ROWS: usize = 72;
/// Columns that are packed side by side: three cache lines.
const STRIP: usize = 24;
/// Rows and columns of the sums that are kept in registers.
const TILE: (usize, usize) = (6, 8);

/// Replaces the lower triangle of the row-major `matrix` `[n, n]` by that of S with `matrix = SᵀS`. False if it is not positive definite;
/// the triangle then holds nothing of use. Above the diagonal nothing is read, and what lies there afterwards has no meaning.
///
/// # Panics
///
/// If `matrix` has another size.
pub fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    assert_eq!(matrix.len(), n * n, "cholesky: the matrix is not [{n}, {n}]");
    let tier = tier();
    let mut packed = Vec::new();
    let mut end = n;
    while end > 0 {
        // whole multiples of ROWS above, so that every strip left of the rows at hand is full
        let first = (end - 1) / ROWS * ROWS;
        let height = end - first;
        let (rest, rows) = matrix[..end * n].split_at_mut(first * n);
        if !factorise(tier, rows, n, first) {
            return false;
        }
        if first == 0 {
            break;
        }
        packed.resize(ROWS * first, 0.0);
        let strips = packed[..height * first].par_chunks_exact_mut(height * STRIP);
        let triangle = &*rows;
        strips.enumerate().for_each(|(strip, packed)| {
            for (row, packed) in triangle.chunks_exact(n).zip(packed.chunks_exact_mut(STRIP)) {
                packed.copy_from_slice(&row[strip * STRIP..][..STRIP]);
            }
            substitute(tier, triangle, n, first, packed);
        });
        let packed = &packed[..height * first];
        rows.par_chunks_exact_mut(n).enumerate().for_each(|(at, row)| {
            for (row, packed) in row[..first].chunks_exact_mut(STRIP).zip(packed.chunks_exact(height * STRIP)) {
                row.copy_from_slice(&packed[at * STRIP..][..STRIP]);
            }
        });
        // the longest rows first, so that no thread is left alone with them
        rest.par_chunks_exact_mut(STRIP * n).enumerate().rev().for_each(|(strip, rows)| {
            let left = &packed[strip * height * STRIP..][..height * STRIP];
            for (column, right) in packed.chunks_exact(height * STRIP).take(strip + 1).enumerate() {
                subtract(tier, &mut rows[column * STRIP..], n, left, right);
            }
        });
        end = first;
    }
    true
}

simd! {
    /// The triangle of `rows` from column `first` on, `n` columns in a row.
    fn factorise(rows: &mut [f64], n: usize, first: usize) -> bool {
        for at in (0..rows.len() / n).rev() {
            let (above, below) = rows.split_at_mut((at + 1) * n);
            let row = &mut above[at * n + first..][..=at];
            for below in below.chunks_exact(n) {
                let below = &below[first..][..=at];
                let factor = below[at];
                for (x, s) in row.iter_mut().zip(below) {
                    *x = mul_add::<FUSED>(-factor, *s, *x);
                }
            }
            let pivot = row[at].sqrt();
            // NaN is not above zero
            if !(pivot > 0.0 && pivot.is_finite()) {
                return false;
            }
            let inverse = 1.0 / pivot;
            for x in row.iter_mut() {
                *x *= inverse;
            }
            row[at] = pivot;
        }
        true
    }

    /// A packed strip of the columns left of the factorised triangle of `rows`.
    fn substitute(rows: &[f64], n: usize, first: usize, packed: &mut [f64]) {
        for at in (0..rows.len() / n).rev() {
            let (above, below) = packed.split_at_mut((at + 1) * STRIP);
            let mut sums = [0.0; STRIP];
            sums.copy_from_slice(&above[at * STRIP..]);
            for (row, below) in rows[(at + 1) * n..].chunks_exact(n).zip(below.chunks_exact(STRIP)) {
                let factor = row[first + at];
                for (x, s) in sums.iter_mut().zip(below) {
                    *x = mul_add::<FUSED>(-factor, *s, *x);
                }
            }
            let inverse = 1.0 / rows[at * n + first + at];
            for (x, sum) in above[at * STRIP..].iter_mut().zip(sums) {
                *x = sum * inverse;
            }
        }
    }

    /// `out −= leftᵀ·right` for two packed strips; rows of `out` start `n` apart.
    fn subtract(out: &mut [f64], n: usize, left: &[f64], right: &[f64]) {
        for r in (0..STRIP).step_by(TILE.0) {
            for c in (0..STRIP).step_by(TILE.1) {
                let mut sums = [[0.0; TILE.1]; TILE.0];
                for (left, right) in left.chunks_exact(STRIP).zip(right.chunks_exact(STRIP)) {
                    for (sums, &left) in sums.iter_mut().zip(&left[r..r + TILE.0]) {
                        for (sum, &right) in sums.iter_mut().zip(&right[c..c + TILE.1]) {
                            *sum = mul_add::<FUSED>(left, right, *sum);
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (x, sum) in out[(r + row) * n + c..][..TILE.1].iter_mut().zip(sums) {
                        *x -= sum;
                    }
                }
            }
        }
    }
}
