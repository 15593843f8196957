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
    let n = h.len().isqrt();
    let rows = weight.len() / n.max(1);
    let inverse_diagonal: Vec<f32> = (0..n).map(|j| 1.0 / h[j * n + j]).collect();
    let mut solution: Vec<f32> =
        start.unwrap_or(weight).iter().zip(kept).map(|(&w, &k)| if k == 1 { w } else { 0.0 }).collect();
    // residual = −gradient = (w − w')H on the mask
    let missing: Vec<f32> = weight.iter().zip(&solution).map(|(w, s)| w - s).collect();
    let mut residual = vec![0.0; weight.len()];
    let product = |out: &mut [f32], a: &[f32]| {
        matmul(out, n, false, View::new(a, rows, n), View::new(h, n, n), Precision::F32);
    };
    product(&mut residual, &missing);
    let (mut direction, mut image) = (missing, vec![0.0; weight.len()]);
    let mut energies = vec![0.0; rows];
    conjugate_gradient_start(kept, &inverse_diagonal, &mut residual, &mut direction, &mut energies);
    let limits: Vec<f64> = energies.iter().map(|energy| energy * tolerance * tolerance).collect();
    let mut taken = 0;
    while taken < iterations && energies.iter().zip(&limits).any(|(energy, limit)| energy > limit) {
        product(&mut image, &direction);
        let (x, r, p) = (&mut solution, &mut residual, &mut direction);
        conjugate_gradient_step(kept, &inverse_diagonal, &image, x, r, p, &mut energies);
        taken += 1;
    }
    MaskedSolution { weight: solution, iterations: taken }
}
