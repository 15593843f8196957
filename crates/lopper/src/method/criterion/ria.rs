//! Relative importance and activations: `(|W_ij| / Σ_k |W_kj| + |W_ij| / Σ_k |W_ik|) · ‖X_j‖₂^α`, α = ½
//! (Zhang et al., ICLR 2024, "Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models").

use rayon::prelude::*;

use crate::calibration::Needs;
use crate::method::{Criterion, LayerProblem};
use crate::tensor::Tensor;

/// `(|W_ij| / Σ_k |W_kj| + |W_ij| / Σ_k |W_ik|) · ‖X_j‖₂^½`
pub struct Ria;

impl Criterion for Ria {
    fn name(&self) -> &'static str {
        "ria"
    }

    fn needs(&self) -> Needs {
        Needs::ColumnNorms
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        let (n, weight) = (problem.columns(), problem.weight.host());
        let mut columns = vec![0.0f64; n];
        for row in weight.chunks_exact(n) {
            columns.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(w.abs()));
        }
        // ‖x‖^½ is the fourth root of the sum of squares
        let activation: Vec<f64> = problem.inputs.squares.host().iter().map(|square| square.powf(0.25)).collect();
        let of_row = |(scores, row): (&mut [f32], &[f32])| {
            let total: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
            for (j, (score, w)) in scores.iter_mut().zip(row).enumerate() {
                let w = f64::from(w.abs());
                // a weight of zero is unimportant also where a whole row or column is zero
                *score = if w == 0.0 { 0.0 } else { ((w / columns[j] + w / total) * activation[j]) as f32 };
            }
        };
        Tensor::filled(problem.weight.shape(), |scores| {
            scores.par_chunks_exact_mut(n).zip(weight.par_chunks_exact(n)).for_each(of_row);
        })
    }

    /// Two quotients and a product for each weight, and the sums before.
    fn cost(&self, [d_out, d_in]: [usize; 2]) -> f64 {
        6.0 * d_out as f64 * d_in as f64
    }
}
