//! The optimum of the Multiple Removal Problem row by row, by Cholesky factorisation in f64: `w_K' = w_K + w_P·H_PK·H_KK⁻¹`
//! (Zhao et al. 2024, arXiv 2410.15567, eq. 11-13, in its least-squares form). O(d_out·k³) for k kept weights per row: the reference for
//! the conjugate gradients of `joint`, and affordable for small layers.

use rayon::prelude::*;

use crate::linalg::{Gram, cholesky};
use crate::method::{LayerProblem, SolutionFacts};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

pub(super) fn repair(problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Tensor> {
    let (gram, damping) = facts.damping_of(problem)?;
    let (n, mut weight) = (problem.columns(), problem.weight.clone());
    let rows = weight.host_mut().par_chunks_exact_mut(n).zip(mask.as_slice().par_chunks_exact(n));
    let solved = rows.map(|(row, kept)| solve_row(row, kept, gram, damping)).all(|solved| solved);
    if !solved {
        let damping = 2.0 * damping;
        facts.warn(format!("a row has no Cholesky factor at γ = {damping:e}; kept weights stay as they were"));
        return None;
    }
    Some(weight)
}

/// Moves the kept weights of a row to the optimum and sets the others to zero. A kept weight of an input without variance stays where
/// it is if nothing is added to the diagonal. False if the matrix of the others is not positive definite.
fn solve_row(row: &mut [f32], kept: &[u8], gram: &Gram, damping: f64) -> bool {
    let (keep, prune): (Vec<usize>, Vec<usize>) = (0..row.len()).partition(|&j| kept[j] == 1);
    let keep: Vec<usize> = keep.into_iter().filter(|&j| gram.get(j, j) + damping > 0.0).collect();
    // only the lower triangle is read
    let count = keep.len();
    let mut h = vec![0.0; count * count];
    for (at, (entries, &i)) in h.chunks_exact_mut(count.max(1)).zip(&keep).enumerate() {
        entries.iter_mut().zip(&keep[..=at]).for_each(|(entry, &j)| *entry = gram.get(i, j));
        entries[at] += damping;
    }
    let pull = |&i: &usize| prune.iter().map(|&p| gram.get(i, p) * f64::from(row[p])).sum::<f64>();
    let mut shift: Vec<f64> = keep.iter().map(pull).collect();
    if !cholesky::solve(&mut h, &mut shift) {
        return false;
    }
    for (j, shift) in keep.into_iter().zip(shift) {
        row[j] = (f64::from(row[j]) + shift) as f32;
    }
    for p in prune {
        row[p] = 0.0;
    }
    true
}
