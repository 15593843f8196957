//! Cholesky factorisation in f64 on as many threads as it is told to use.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltParams, LltRegularization, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::cholesky::llt::solve::{solve_in_place, solve_in_place_scratch};
use faer::{Mat, MatMut, Par, Spec};

/// Replaces the lower triangle of `matrix`, of which nothing else is read, by L with `matrix = L·Lᵀ`. False if it is not positive
/// definite; the triangle then holds nothing of use.
pub fn factorise(matrix: MatMut<f64>, par: Par) -> bool {
    let scratch = cholesky_in_place_scratch::<f64>(matrix.nrows(), par, Spec::<LltParams, f64>::default());
    let mut buffer = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut buffer);
    cholesky_in_place(matrix, LltRegularization::default(), par, stack, Spec::default()).is_ok()
}

/// Solves `matrix·x = right` for every column of `right`, in place, on the calling thread; `matrix` is destroyed. False if it is not
/// positive definite.
pub fn solve(matrix: &mut Mat<f64>, right: &mut Mat<f64>) -> bool {
    if !factorise(matrix.as_mut(), Par::Seq) {
        return false;
    }
    let mut buffer = MemBuffer::new(solve_in_place_scratch::<f64>(matrix.nrows(), right.ncols(), Par::Seq));
    solve_in_place(matrix.as_ref(), right.as_mut(), Par::Seq, MemStack::new(&mut buffer));
    true
}
