//! Least squares on a mask, for all rows at once, by conjugate gradients (Hestenes & Stiefel 1952) with the Jacobi preconditioner.
//!
//! For each row: minimise `½ (w' − w) H (w' − w)ᵀ` over `w'` that is zero where the mask is 0. The gradient is `(w' − w)H` on
//! the mask, so an iteration of all rows costs one product [rows, n]·[n, n]. The minimum is the joint optimum of the
//! Multiple Removal Problem (Zhao et al. 2024, arXiv 2410.15567, eq. 11–13).

use lopper_kernels::{Precision, View, matmul};
use rayon::prelude::*;

/// The result of [`masked_least_squares`].
#[derive(Clone, Debug)]
pub struct MaskedSolution {
    /// [rows, n]; zero where the mask is 0.
    pub weight: Vec<f32>,
    /// Iterations taken.
    pub iterations: usize,
}

/// State of one row between iterations.
#[derive(Clone, Copy, Default)]
struct Row {
    /// rᵀ·z of the last residual.
    energy: f64,
    /// rᵀ·z of the first.
    start: f64,
}

/// Minimises `½ (w' − w) H (w' − w)ᵀ` for every row w of `weight` [rows, n], over w' with zeros where `kept` is 0.
/// `h` [n, n] is symmetric positive definite. Starts from the masked weight. Stops after `iterations`, or when the
/// preconditioned residual of every row has fallen by `tolerance`².
pub fn masked_least_squares(
    weight: &[f32],
    kept: &[u8],
    h: &[f32],
    n: usize,
    iterations: usize,
    tolerance: f64,
) -> MaskedSolution {
    let rows = weight.len() / n;
    let inverse_diagonal: Vec<f32> = (0..n).map(|j| 1.0 / h[j * n + j]).collect();
    let mut solution: Vec<f32> = weight.iter().zip(kept).map(|(&w, &k)| if k == 1 { w } else { 0.0 }).collect();
    // residual = −gradient = (w − w')H on the mask; here w − w' is the pruned part of w
    let pruned: Vec<f32> = weight.iter().zip(&solution).map(|(w, s)| w - s).collect();
    let mut residual = vec![0.0; weight.len()];
    let product =
        |out: &mut [f32], a: &[f32]| matmul(out, n, false, View::new(a, rows, n), View::new(h, n, n), Precision::F32);
    product(&mut residual, &pruned);
    let mut direction = pruned;
    let mut image = vec![0.0; weight.len()];
    let mut state = vec![Row::default(); rows];
    state
        .par_iter_mut()
        .zip(residual.par_chunks_mut(n))
        .zip(direction.par_chunks_mut(n))
        .zip(kept.par_chunks(n))
        .for_each(|(((state, r), p), kept)| {
            apply_mask(r, kept);
            state.energy = precondition(r, &inverse_diagonal, p, 0.0);
            state.start = state.energy;
        });
    let mut taken = 0;
    while taken < iterations && state.iter().any(|row| row.energy > row.start * tolerance * tolerance) {
        product(&mut image, &direction);
        let vectors = residual.par_chunks_mut(n).zip(direction.par_chunks_mut(n)).zip(image.par_chunks_mut(n));
        state.par_iter_mut().zip(solution.par_chunks_mut(n)).zip(vectors).zip(kept.par_chunks(n)).for_each(
            |(((state, x), ((r, p), image)), kept)| {
                apply_mask(image, kept);
                advance(state, x, r, p, image, &inverse_diagonal);
            },
        );
        taken += 1;
    }
    MaskedSolution { weight: solution, iterations: taken }
}

/// One step of one row. A row that is solved, or has no kept weight, stays.
fn advance(row: &mut Row, x: &mut [f32], r: &mut [f32], p: &mut [f32], image: &[f32], inverse_diagonal: &[f32]) {
    let curvature = dot(p, image);
    if row.energy <= 0.0 || curvature <= 0.0 {
        row.energy = 0.0;
        return;
    }
    let step = (row.energy / curvature) as f32;
    for ((x, r), (&p, &image)) in x.iter_mut().zip(r.iter_mut()).zip(p.iter().zip(image)) {
        *x += step * p;
        *r -= step * image;
    }
    let before = row.energy;
    row.energy = r.iter().zip(inverse_diagonal).map(|(&r, &d)| f64::from(r * r * d)).sum();
    precondition(r, inverse_diagonal, p, (row.energy / before) as f32);
}

/// p = D⁻¹·r + β·p; returns rᵀ·D⁻¹·r.
fn precondition(r: &[f32], inverse_diagonal: &[f32], p: &mut [f32], beta: f32) -> f64 {
    let mut energy = 0.0;
    for ((p, &r), &d) in p.iter_mut().zip(r).zip(inverse_diagonal) {
        let z = r * d;
        energy += f64::from(r * z);
        *p = if beta == 0.0 { z } else { beta * *p + z };
    }
    energy
}

fn apply_mask(x: &mut [f32], kept: &[u8]) {
    for (x, &kept) in x.iter_mut().zip(kept) {
        if kept == 0 {
            *x = 0.0;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a * b)).sum()
}
