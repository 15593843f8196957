//! Relative importance and activations: `(|W_ij| / Σ_k |W_kj| + |W_ij| / Σ_k |W_ik|) · ‖X_j‖₂^α`, α = ½
//! (Zhang et al., ICLR 2024, "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models").

use lopper_kernels::zeros;
use rayon::prelude::*;

use crate::method::LayerProblem;

pub(super) fn scores(problem: &LayerProblem) -> Vec<f32> {
    let n = problem.columns;
    let mut columns = vec![0.0f64; n];
    for row in problem.weight.chunks_exact(n) {
        columns.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(w.abs()));
    }
    // ‖x‖^½ is the fourth root of the sum of squares
    let activation: Vec<f64> = problem.inputs.squares.iter().map(|square| square.powf(0.25)).collect();
    let mut scores = zeros(problem.weight.len());
    scores.par_chunks_exact_mut(n).zip(problem.weight.par_chunks_exact(n)).for_each(|(scores, row)| {
        let total: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
        for (j, (score, w)) in scores.iter_mut().zip(row).enumerate() {
            let w = f64::from(w.abs());
            // a weight of zero is unimportant also where a whole row or column is zero
            *score = if w == 0.0 { 0.0 } else { ((w / columns[j] + w / total) * activation[j]) as f32 };
        }
    });
    scores
}
