//! The vector part of preconditioned conjugate gradients, for many independent rows on one mask.
//!
//! With H the matrix, D its diagonal and ⊙ the mask m: z = D⁻¹r, α = rᵀz / pᵀHp, x ← x + αp, r ← r − α(Hp ⊙ m), β = r'ᵀz' / rᵀz,
//! p ← z' + βp. M. R. Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
//! The product Hp of all rows is one matrix product, which is the caller's.
//!
//! An input that is always zero has a row, a column and a diagonal entry of zeros in H, so its 1/D is infinite and its r is 0. The entry
//! of D⁻¹ of such an input counts as 0: then its z and p are 0 at every step, so that it stays and takes no part in any sum.

use crate::dispatch::{simd, tier};
use rayon::prelude::*;

/// Partial sums per dot product; a row's order of summation depends on nothing else.
const LANES: usize = 16;

simd! {
    fn start_row(kept: &[u8], inverse: &[f32], r: &mut [f32], p: &mut [f32]) -> f64 {
        for ((r, p), (kept, inverse)) in r.iter_mut().zip(p.iter_mut()).zip(kept.iter().zip(inverse)) {
            *r = if *kept == 0 { 0.0 } else { *r };
            *p = *r * inverse;
        }
        dot(r, p)
    }
    fn step_row(kept: &[u8], inverse: &[f32], image: &[f32], x: &mut [f32], r: &mut [f32], p: &mut [f32], energy: f64) -> f64 {
        // p is zero off the mask, so the image there adds nothing
        let curvature = dot(p, image);
        if energy <= 0.0 || curvature <= 0.0 {
            return 0.0;
        }
        let alpha = (energy / curvature) as f32;
        for ((x, p), ((r, image), kept)) in x.iter_mut().zip(p.iter()).zip(r.iter_mut().zip(image).zip(kept)) {
            *x += alpha * p;
            let image = if *kept == 0 { 0.0 } else { *image };
            *r -= alpha * image;
        }
        let after = weighted_square(r, inverse);
        let beta = (after / energy) as f32;
        for ((p, r), inverse) in p.iter_mut().zip(r.iter()).zip(inverse) {
            *p = r * inverse + beta * *p;
        }
        after
    }
}

/// `Σ a·b`, products in f32, sums in f64.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| f64::from(a * b)).sum();
    for (a, b) in left.zip(right) {
        for i in 0..LANES {
            sums[i] += f64::from(a[i] * b[i]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `Σ r²·d`, products in f32, sums in f64.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn weighted_square(r: &[f32], d: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let (left, right) = (r.chunks_exact(LANES), d.chunks_exact(LANES));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(r, d)| f64::from(r * r * d)).sum();
    for (r, d) in left.zip(right) {
        for i in 0..LANES {
            sums[i] += f64::from(r[i] * r[i] * d[i]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The inverse diagonal with 0 for every input that has to stay.
fn held(inverse_diagonal: &[f32]) -> Vec<f32> {
    inverse_diagonal.iter().map(|inverse| if inverse.is_finite() { *inverse } else { 0.0 }).collect()
}

/// Masks the first residual, sets the direction to `D⁻¹·residual`, and writes `rᵀ·D⁻¹·r` of each row to `energies`.
///
/// `residual`, `direction` and `kept` (1 = free, 0 = held at zero) are `[rows, n]`, `inverse_diagonal` `[n]`, `energies` `[rows]`.
/// An input whose inverse diagonal is 0 or not finite keeps its solution, and the others are solved as if it were not there.
///
/// # Panics
///
/// If the lengths do not fit.
pub fn conjugate_gradient_start(
    kept: &[u8],
    inverse_diagonal: &[f32],
    residual: &mut [f32],
    direction: &mut [f32],
    energies: &mut [f64],
) {
    let n = inverse_diagonal.len();
    let size = n * energies.len();
    let fits = kept.len() == size && residual.len() == size && direction.len() == size;
    assert!(fits, "conjugate_gradient_start: the slices are not [rows, n]");
    let (tier, inverse) = (tier(), held(inverse_diagonal));
    let vectors = residual.par_chunks_mut(n).zip(direction.par_chunks_mut(n)).zip(kept.par_chunks(n));
    energies.par_iter_mut().zip(vectors).for_each(|(energy, ((r, p), kept))| {
        *energy = start_row(tier, kept, &inverse, r, p);
    });
}

/// One iteration of every row, given `image = direction·H` and the mask and inverse diagonal of [`conjugate_gradient_start`]. A row
/// whose energy or curvature is not positive is done: its energy becomes 0 and nothing else of it changes.
///
/// # Panics
///
/// If the lengths do not fit.
pub fn conjugate_gradient_step(
    kept: &[u8],
    inverse_diagonal: &[f32],
    image: &[f32],
    solution: &mut [f32],
    residual: &mut [f32],
    direction: &mut [f32],
    energies: &mut [f64],
) {
    let n = inverse_diagonal.len();
    let size = n * energies.len();
    let fits =
        [kept.len(), image.len(), solution.len(), residual.len(), direction.len()].iter().all(|&len| len == size);
    assert!(fits, "conjugate_gradient_step: the slices are not [rows, n]");
    let (tier, inverse) = (tier(), held(inverse_diagonal));
    let vectors = solution.par_chunks_mut(n).zip(residual.par_chunks_mut(n)).zip(direction.par_chunks_mut(n));
    let fixed = image.par_chunks(n).zip(kept.par_chunks(n));
    energies.par_iter_mut().zip(vectors).zip(fixed).for_each(|((energy, ((x, r), p)), (image, kept))| {
        *energy = step_row(tier, kept, &inverse, image, x, r, p, *energy);
    });
}
