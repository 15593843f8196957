//! Least squares on a mask, for all rows at once, by conjugate gradients (Hestenes & Stiefel 1952) with the Jacobi preconditioner.
//!
//! For each row: minimise `½ (w' − w) H (w' − w)ᵀ` over `w'` that is zero where the mask is 0. The gradient is `(w' − w)H` on
//! the mask, so an iteration of all rows costs one product [rows, n]·[n, n]. The minimum is the joint optimum of the
//! Multiple Removal Problem (Zhao et al. 2024, arXiv 2410.15567, eq. 11–13).

use lopper_kernels::{Precision, View, conjugate_gradient_start, conjugate_gradient_step, matmul};

/// The result of [`masked_least_squares`].
#[derive(Clone, Debug)]
pub struct MaskedSolution {
    /// [rows, n]; zero where the mask is 0.
    pub weight: Vec<f32>,
    /// Iterations taken.
    pub iterations: usize,
}

/// Minimises `½ (w' − w) H (w' − w)ᵀ` for every row w of `weight` [rows, n], over w' with zeros where `kept` is 0.
/// `h` [n, n] is symmetric positive definite, but that inputs without variance, whose row and column are zero, may be among the
/// others: their weights stay as they start. Starts from `start` [rows, n], of which only what is kept counts; from `weight`
/// without one. Stops after `iterations`, or when the preconditioned residual of every row has fallen by `tolerance`².
pub fn masked_least_squares(
    weight: &[f32],
    start: Option<&[f32]>,
    kept: &[u8],
    h: &[f32],
    iterations: usize,
    tolerance: f64,
) -> MaskedSolution {
    let solution: Vec<f32> =
        start.unwrap_or(weight).iter().zip(kept).map(|(&w, &k)| if k == 1 { w } else { 0.0 }).collect();
    // residual = −gradient = (w − w')H on the mask
    let missing: Vec<f32> = weight.iter().zip(&solution).map(|(w, s)| w - s).collect();
    let mut residual = vec![0.0; weight.len()];
    product(&mut residual, &missing, h);
    descend(solution, (residual, missing), kept, h, (iterations, tolerance))
}

/// Minimises `½ w' H w'ᵀ − r w'ᵀ` for every row r of `right` [rows, n], over w' with zeros where `kept` is 0: with `H = XᵀX` and
/// `r = yᵀX` this is `½ ‖X w'ᵀ − y‖²`. Everything else as [`masked_least_squares`].
pub fn least_squares(
    right: &[f32],
    start: &[f32],
    kept: &[u8],
    h: &[f32],
    iterations: usize,
    tolerance: f64,
) -> MaskedSolution {
    let solution: Vec<f32> = start.iter().zip(kept).map(|(&w, &k)| if k == 1 { w } else { 0.0 }).collect();
    let mut image = vec![0.0; right.len()];
    product(&mut image, &solution, h);
    let residual = right.iter().zip(&image).map(|(r, y)| r - y).collect();
    descend(solution, (residual, image), kept, h, (iterations, tolerance))
}

/// `a·H`, a [rows, n].
fn product(out: &mut [f32], a: &[f32], h: &[f32]) {
    let n = h.len().isqrt();
    let rows = a.len() / n.max(1);
    matmul(out, n, false, View::new(a, rows, n), View::new(h, n, n), Precision::F32);
}

/// Iterates from a solution with its residual; `direction` is room for as many numbers.
fn descend(
    mut solution: Vec<f32>,
    (mut residual, mut direction): (Vec<f32>, Vec<f32>),
    kept: &[u8],
    h: &[f32],
    (iterations, tolerance): (usize, f64),
) -> MaskedSolution {
    let n = h.len().isqrt();
    let inverse_diagonal: Vec<f32> = (0..n).map(|j| 1.0 / h[j * n + j]).collect();
    let mut image = vec![0.0; solution.len()];
    let mut energies = vec![0.0; solution.len() / n.max(1)];
    conjugate_gradient_start(kept, &inverse_diagonal, &mut residual, &mut direction, &mut energies);
    let limits: Vec<f64> = energies.iter().map(|energy| energy * tolerance * tolerance).collect();
    let mut taken = 0;
    while taken < iterations && energies.iter().zip(&limits).any(|(energy, limit)| energy > limit) {
        product(&mut image, &direction, h);
        let (x, r, p) = (&mut solution, &mut residual, &mut direction);
        conjugate_gradient_step(kept, &inverse_diagonal, &image, x, r, p, &mut energies);
        taken += 1;
    }
    MaskedSolution { weight: solution, iterations: taken }
}
