//! The saliency of a weight removed alone, all others free to compensate: `W_ij² / (2 [H⁻¹]_jj)`
//! (LeCun et al. 1990; Hassibi & Stork 1993; Solution S of Zhao et al. 2024, arXiv 2410.15567, eq. 14).

use crate::linalg::InverseHessian;
use crate::method::LayerProblem;
use crate::sparsity::Pattern;
use crate::tensor::Tensor;

/// Of all weights at once, [d_out, d_in].
pub(in crate::method) fn scores(problem: &LayerProblem, inverse: &InverseHessian) -> Tensor {
    let importance = importance(problem, inverse);
    problem.score(|w, input| w * w * importance[input])
}

/// `1 / [H⁻¹]_jj` with `H = XᵀX + γI`, half of the Hessian of the output error; 0 for a dead input.
pub(in crate::method) fn importance(problem: &LayerProblem, inverse: &InverseHessian) -> Vec<f32> {
    let live = problem.inputs.squares.host().iter().map(|square| f64::from(u8::from(*square > 0.0)));
    inverse.diagonal().host().iter().zip(live).map(|(diagonal, live)| (live / diagonal) as f32).collect()
}

/// The same with everything to the left of a weight's group, or of its block of columns, frozen.
pub(in crate::method) fn importance_of_rest(problem: &LayerProblem, inverse: &InverseHessian) -> Vec<f32> {
    let width = match *problem.pattern {
        Pattern::NofM { of, .. } => of,
        Pattern::Unstructured { .. } | Pattern::Inputs { .. } | Pattern::Outputs { .. } => {
            problem.settings.column_block.max(1)
        }
    };
    let (n, squares) = (problem.columns(), problem.inputs.squares.host());
    let live = |j: usize| f64::from(u8::from(squares[j] > 0.0));
    let group = |first: usize| {
        let count = width.min(n - first);
        let block = inverse.group_of_rest(first, count);
        (0..count).map(move |j| (live(first + j) / block[j * count + j]) as f32).collect::<Vec<_>>()
    };
    (0..n).step_by(width).flat_map(group).collect()
}
