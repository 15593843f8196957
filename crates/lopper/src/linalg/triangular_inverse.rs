//! The inverse of an upper triangular matrix in f32, by halves: `[A B; 0 C]⁻¹ = [A⁻¹ −A⁻¹BC⁻¹; 0 C⁻¹]`, so that nearly all of it is
//! products.

use lopper_kernels::{Precision, View, matmul, zeros};

/// Order below which a block is solved row by row, in f64.
const SMALL: usize = 32;
/// Rows or columns of a triangle in one product: what lies beyond its diagonal is left out.
const STRIP: usize = 256;

/// Replaces the row-major upper triangular `matrix` [n, n] by its inverse. Below the diagonal it must hold zeros, on it none.
pub fn invert_upper(matrix: &mut [f32], n: usize) {
    invert(matrix, n, 0, n);
}

/// The block of order `n` in the rows at hand, from column `first` on; rows are `leading` long.
fn invert(rows: &mut [f32], leading: usize, first: usize, n: usize) {
    if n <= SMALL {
        return substitute(rows, leading, first, n);
    }
    let half = (n / 2).next_multiple_of(SMALL).min(n - 1);
    let (top, bottom) = rows.split_at_mut(half * leading);
    rayon::join(|| invert(top, leading, first, half), || invert(bottom, leading, first + half, n - half));
    let (rest, right) = (n - half, first + half);
    // −A⁻¹B, a strip of rows of A⁻¹ at a time, from its diagonal on
    let mut left = zeros(half * rest);
    for row in (0..half).step_by(STRIP) {
        let (height, skipped) = (STRIP.min(half - row), &top[row * leading..]);
        let inverse = block(skipped, leading, first + row, height, half - row);
        let out = &mut left[row * rest..];
        matmul(out, rest, false, inverse, block(skipped, leading, right, half - row, rest), Precision::F32);
    }
    for x in &mut left {
        *x = -*x;
    }
    // times C⁻¹, a strip of its columns at a time, down to its diagonal
    for column in (0..rest).step_by(STRIP) {
        let (width, height) = (STRIP.min(rest - column), rest.min(column + STRIP));
        let inverse = block(bottom, leading, right + column, height, width);
        let left = View::strided(&left, half, height, rest);
        matmul(&mut top[right + column..], leading, false, left, inverse, Precision::F32);
    }
}

/// The `rows` rows of the columns from `first` on.
fn block(data: &[f32], leading: usize, first: usize, rows: usize, columns: usize) -> View<'_> {
    View::strided(&data[first..], rows, columns, leading)
}

/// Column by column: `U_jj = 1/T_jj`, `U_ij = −(Σ_{i ≤ k < j} U_ik·T_kj)·U_jj`.
fn substitute(rows: &mut [f32], leading: usize, first: usize, n: usize) {
    for j in 0..n {
        let column: Vec<f64> = (0..=j).map(|k| f64::from(rows[k * leading + first + j])).collect();
        let pivot = column[j].recip();
        for i in 0..j {
            let row = &mut rows[i * leading + first..][..=j];
            let sum: f64 = row[i..j].iter().zip(&column[i..j]).map(|(&u, t)| f64::from(u) * t).sum();
            row[j] = (-sum * pivot) as f32;
        }
        rows[j * leading + first + j] = pivot as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::invert_upper;

    #[test]
    fn times_the_matrix_it_is_the_identity() {
        for n in [1, 2, 31, 32, 33, 64, 100, 257, 600] {
            let entry = |i: usize, j: usize| match i.cmp(&j) {
                std::cmp::Ordering::Less => ((i * 31 + j * 17) % 23) as f32 / 40.0 - 0.3,
                std::cmp::Ordering::Equal => 2.0 + (i % 7) as f32,
                std::cmp::Ordering::Greater => 0.0,
            };
            let matrix: Vec<f32> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
            let mut inverse = matrix.clone();
            invert_upper(&mut inverse, n);
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n).map(|k| f64::from(inverse[i * n + k]) * f64::from(matrix[k * n + j])).sum();
                    assert!((sum - f64::from(u8::from(i == j))).abs() < 2e-5, "{n}: {i} {j}: {sum}");
                }
            }
        }
    }
}
