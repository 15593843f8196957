//! Exact solution of positive definite systems in f64.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// Solves `A·x = b` for positive definite A [n, n] (row-major, f64) by Cholesky factorisation.
/// `None` if A is not positive definite.
pub fn solve_positive_definite(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let n = b.len();
    let matrix = Mat::from_fn(n, n, |i, j| a[i * n + j]);
    let factor = matrix.llt(Side::Lower).ok()?;
    let x = factor.solve(Mat::from_fn(n, 1, |i, _| b[i]));
    Some((0..n).map(|i| x[(i, 0)]).collect())
}
