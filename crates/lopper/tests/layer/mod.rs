//! Layer problems for the tests of methods: random ones, the golden one, and exact solutions.

use lopper::calibration::{InputStatistics, Needs};
use lopper::method::{LayerProblem, LayerSolution, Method, SolverSettings};
use lopper::sparsity::{Pattern, Scope};
use lopper::tensor::Tensor;
use proptest::prelude::*;

use crate::golden::Golden;

/// Statistics of inputs [tokens, d_in].
pub fn statistics(inputs: &Tensor) -> InputStatistics {
    let mut statistics = InputStatistics::new(inputs.width(), Needs::InverseHessian);
    statistics.add(inputs.host());
    statistics.finish(0.01);
    statistics
}

/// Numbers in rows of so many.
pub fn matrix(columns: usize, numbers: Vec<f32>) -> Tensor {
    Tensor::new([numbers.len() / columns, columns], numbers)
}

pub fn solve(
    weight: &Tensor,
    inputs: &InputStatistics,
    pattern: &Pattern,
    criterion: &str,
    compensation: &str,
) -> LayerSolution {
    let method = Method::by_name(criterion, compensation, None).expect("known");
    method.solve(&problem(weight, inputs, pattern)).expect("its parts fit")
}

/// A layer problem with default settings.
pub fn problem<'a>(weight: &'a Tensor, inputs: &'a InputStatistics, pattern: &'a Pattern) -> LayerProblem<'a> {
    LayerProblem { weight, inputs, pattern, seed: 7, settings: SolverSettings::default() }
}

pub fn golden_problem() -> (Tensor, InputStatistics) {
    let golden = Golden::open("pruning/problem");
    (matrix(32, golden.vec("weight")), statistics(&matrix(32, golden.vec("inputs"))))
}

pub fn half(scope: Scope) -> Pattern {
    Pattern::unstructured(0.5, scope).expect("valid")
}

/// `A·x = b` for positive definite A [n, n], in f64, by elimination.
pub fn solve_exactly(a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut rows: Vec<Vec<f64>> = a.chunks(n).zip(b).map(|(row, &b)| [row, &[b]].concat()).collect();
    for pivot in 0..n {
        let (above, below) = rows.split_at_mut(pivot + 1);
        let above = &above[pivot];
        for row in below {
            let factor = row[pivot] / above[pivot];
            row.iter_mut().zip(above).skip(pivot).for_each(|(x, above)| *x -= factor * above);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| rows[i][j] * x[j]).sum();
        x[i] = (rows[i][n] - known) / rows[i][i];
    }
    x
}

/// `w_K' = w_K + w_P·H_PK·H_KK⁻¹` row by row in f64; γ is this share of the mean diagonal of H.
pub fn exact_rows(weight: &Tensor, kept: &[u8], inputs: &InputStatistics, damping: f64) -> Tensor {
    let (n, gram) = (inputs.squares.len(), inputs.gram.as_ref().expect("Gram"));
    let h: Vec<f64> = gram.damped(damping * gram.mean_diagonal()).into_vec().into_iter().map(f64::from).collect();
    let rows = weight.host().chunks(n).zip(kept.chunks(n)).map(|(row, kept)| {
        let (keep, prune): (Vec<usize>, Vec<usize>) = (0..n).partition(|&j| kept[j] == 1);
        let a: Vec<f64> = keep.iter().flat_map(|&i| keep.iter().map(|&j| h[i * n + j]).collect::<Vec<_>>()).collect();
        let b: Vec<f64> = keep.iter().map(|&i| prune.iter().map(|&p| h[i * n + p] * f64::from(row[p])).sum()).collect();
        let shift = solve_exactly(&a, &b);
        let mut solution = vec![0.0; n];
        for (&j, shift) in keep.iter().zip(shift) {
            solution[j] = row[j] + shift as f32;
        }
        solution
    });
    matrix(n, rows.collect::<Vec<_>>().concat())
}

prop_compose! {
    /// A weight [d_out, d_in] and correlated inputs [tokens, d_in], some of them dead, often fewer tokens than inputs.
    pub fn layer()(rows in 1usize..7, groups in 1usize..9, tokens in 1usize..60, seed in any::<u64>(), dead in 0usize..3)
        -> (Tensor, Tensor) {
        let columns = 4 * groups;
        let mut state = seed | 1;
        let mut draw = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1); ((state >> 40) as f32 / 8_388_608.0) - 1.0 };
        let weight = matrix(columns, (0..rows * columns).map(|_| draw()).collect());
        let mut inputs = Vec::new();
        for _ in 0..tokens {
            let shared = draw();
            inputs.extend((0..columns).map(|j| if j < dead { 0.0 } else { draw() + shared }));
        }
        (weight, matrix(columns, inputs))
    }
}
