//! Which inputs of a layer disappear whole: the unit whose removal costs least when all that is kept may move, again and again.
//!
//! Removing the inputs P costs `tr(W_P (H⁻¹_PP)⁻¹ W_Pᵀ)`, of one alone `Σ_i W_ij² / [H⁻¹]_jj`, the optimal brain surgeon's saliency summed
//! over the rows (ZipLM, Kurtic et al. 2023, arXiv 2302.04089; OSSCAR, Meng et al. 2024, arXiv 2403.12983). After a removal weights and
//! inverse are brought up to date: `W −= W_P (H⁻¹_PP)⁻¹ H⁻¹_P,:`, `H⁻¹ −= H⁻¹_:,P (H⁻¹_PP)⁻¹ H⁻¹_P,:`. Several single inputs go at once
//! where there are many, by the same formula.

use lopper_kernels::{Precision, View, product};
use rayon::prelude::*;

use super::LayerProblem;
use crate::linalg::InverseHessian;

/// So many single inputs are removed at a time, or more: one part in [`PARTS`] of all that are to go.
const BATCH: usize = 16;
const PARTS: usize = 64;

/// The inputs `[d_in]` of which `keep` are kept, so many in a row together; 1 for those.
pub(super) fn kept_inputs(problem: &LayerProblem, inverse: &InverseHessian, keep: usize, unit: usize) -> Vec<u8> {
    let all = (problem.columns() - keep.min(problem.columns())) / unit;
    kept_by_batches(problem, inverse, (all, unit), if unit > 1 { 1 } else { BATCH.max(all / PARTS) })
}

/// The same where `all` units go, `batch` at a time.
fn kept_by_batches(
    problem: &LayerProblem,
    inverse: &InverseHessian,
    (all, unit): (usize, usize),
    batch: usize,
) -> Vec<u8> {
    let mut layer = Layer::new(problem, inverse);
    let mut removed = 0;
    while removed < all {
        let next = layer.cheapest(batch.min(all - removed), unit);
        layer.remove(&next);
        removed += next.len() / unit;
    }
    layer.kept
}

/// A layer on its way.
struct Layer {
    n: usize,
    /// 1 for the inputs that are there.
    kept: Vec<u8>,
    /// Whether an input was ever anything but zero.
    live: Vec<bool>,
    /// [d_out, n]
    weight: Vec<f64>,
    /// [n, n]: of what is kept, the inverse of the Hessian.
    inverse: Vec<f64>,
}

impl Layer {
    fn new(problem: &LayerProblem, inverse: &InverseHessian) -> Self {
        let n = inverse.order();
        let upper = View::new(inverse.upper().host(), n, n);
        let whole = product(upper.t(), upper, Precision::F32);
        Self {
            n,
            kept: vec![1; n],
            live: problem.inputs.squares.host().iter().map(|&square| square > 0.0).collect(),
            weight: problem.weight.host().iter().map(|&w| f64::from(w)).collect(),
            inverse: whole.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The inputs of so many units whose removal costs least, each by itself; ties at the lower index.
    fn cheapest(&self, count: usize, unit: usize) -> Vec<usize> {
        let mut squares = vec![0.0; self.n];
        if unit == 1 {
            for row in self.weight.chunks_exact(self.n) {
                squares.iter_mut().zip(row).for_each(|(sum, w)| *sum += w * w);
            }
        }
        let cost = |first: usize| match unit {
            1 if !self.live[first] => 0.0,
            1 => squares[first] / self.inverse[first * self.n + first],
            _ => self.cost(first, unit),
        };
        let there = (0..self.n).step_by(unit).filter(|&first| self.kept[first] == 1);
        let mut costs: Vec<(f64, usize)> = there.map(|first| (cost(first), first)).collect();
        costs.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        costs.truncate(count);
        costs.into_iter().flat_map(|(_, first)| first..first + unit).collect()
    }

    /// `tr(W_P (H⁻¹_PP)⁻¹ W_Pᵀ)` of so many inputs in a row. Those that were always zero cost nothing.
    fn cost(&self, first: usize, unit: usize) -> f64 {
        let live: Vec<usize> = (first..first + unit).filter(|&j| self.live[j]).collect();
        let weights = |j: usize| self.weight.iter().skip(j).step_by(self.n);
        // (H⁻¹_PP)⁻¹ W_Pᵀ, beside the matrix that is solved for
        let row = |&j: &usize| live.iter().map(|&k| self.inverse[j * self.n + k]).chain(weights(j).copied()).collect();
        let places: Vec<usize> = (0..live.len()).collect();
        let solved = solved(live.iter().map(row).collect(), &places);
        let of_input = |(&j, row): (&usize, &Vec<f64>)| -> f64 {
            weights(j).zip(&row[live.len()..]).map(|(w, solved)| w * solved).sum()
        };
        live.iter().zip(&solved).map(of_input).sum()
    }

    /// Removes some inputs; what is kept moves to make up for them.
    fn remove(&mut self, gone: &[usize]) {
        let n = self.n;
        let rows: Vec<Vec<f64>> = gone.iter().map(|&j| self.inverse[j * n..][..n].to_vec()).collect();
        let updates = solved(rows, gone);
        let update = |row: &mut [f64]| {
            let factors: Vec<f64> = gone.iter().map(|&j| row[j]).collect();
            for (factor, update) in factors.iter().zip(&updates) {
                row.iter_mut().zip(update).for_each(|(x, u)| *x -= factor * u);
            }
            for &j in gone {
                row[j] = 0.0;
            }
        };
        self.inverse.par_chunks_exact_mut(n).for_each(update);
        self.weight.par_chunks_exact_mut(n).for_each(update);
        for &j in gone {
            self.kept[j] = 0;
        }
    }
}

/// `(A_:,P)⁻¹ A` for rows A of a positive definite matrix, those of P: no pivot is sought.
fn solved(mut rows: Vec<Vec<f64>>, places: &[usize]) -> Vec<Vec<f64>> {
    for (k, &place) in places.iter().enumerate() {
        let mut pivot = std::mem::take(&mut rows[k]);
        let scale = pivot[place].recip();
        for x in &mut pivot {
            *x *= scale;
        }
        rows.par_iter_mut().filter(|row| !row.is_empty()).for_each(|row| {
            let factor = row[place];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
        });
        rows[k] = pivot;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::kept_by_batches;
    use crate::calibration::{InputStatistics, Needs};
    use crate::linalg::{InverseHessian, Uniform};
    use crate::method::{DAMPING, LayerProblem, SolverSettings};
    use crate::sparsity::Pattern;
    use crate::tensor::Tensor;

    /// `min ‖(W − Ŵ)X‖²` over Ŵ without these inputs, with γ on the diagonal: `Σ_i w_P (H⁻¹_PP)⁻¹ w_Pᵀ`, as `tr(W_P S W_Pᵀ)` with the
    /// Schur complement S of what is kept in H.
    fn loss(weight: &[f32], hessian: &[f64], n: usize, gone: &[usize]) -> f64 {
        let kept: Vec<usize> = (0..n).filter(|j| !gone.contains(j)).collect();
        // eliminate what is kept from a matrix ordered with it in front
        let order: Vec<usize> = kept.iter().chain(gone).copied().collect();
        let mut h: Vec<Vec<f64>> = order.iter().map(|&i| order.iter().map(|&j| hessian[i * n + j]).collect()).collect();
        for k in 0..kept.len() {
            let pivot = h[k].clone();
            for row in h.iter_mut().skip(k + 1) {
                let factor = row[k] / pivot[k];
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            }
        }
        let schur = |a: usize, b: usize| h[kept.len() + a][kept.len() + b];
        let row_loss = |row: &[f32]| -> f64 {
            let w: Vec<f64> = gone.iter().map(|&j| f64::from(row[j])).collect();
            (0..w.len()).flat_map(|a| (0..w.len()).map(move |b| (a, b))).map(|(a, b)| w[a] * schur(a, b) * w[b]).sum()
        };
        weight.chunks_exact(n).map(row_loss).sum()
    }

    #[test]
    fn one_at_a_time_is_what_trying_all_finds() {
        let (rows, n, tokens) = (7, 12, 60);
        let mut noise = Uniform::new(11);
        let weight = Tensor::new([rows, n], noise.by_ref().take(rows * n).collect());
        let mut read: Vec<f32> = noise.take(tokens * n).collect();
        // inputs that depend on each other, and one that never comes
        for row in read.chunks_exact_mut(n) {
            row[3] = 0.7 * row[1] + 0.3 * row[3];
            row[8] = row[2] - 0.9 * row[5] + 0.1 * row[8];
            row[6] = 0.0;
        }
        let mut inputs = InputStatistics::new(n, Needs::InverseHessian);
        inputs.add(&read);
        inputs.finish(DAMPING);
        let pattern = Pattern::Inputs { keep: 1, of: n, unit: 1 };
        let settings = SolverSettings::default();
        let problem = LayerProblem { weight: &weight, inputs: &inputs, pattern: &pattern, seed: 0, settings };
        let gram = inputs.gram.as_ref().expect("asked for");
        let inverse = InverseHessian::new(gram, DAMPING).expect("positive definite");
        let entry = |i: usize, j: usize| gram.get(i, j) + if i == j { inverse.damping() } else { 0.0 };
        let hessian: Vec<f64> = (0..n * n).map(|at| entry((at / n).max(at % n), (at / n).min(at % n))).collect();
        for unit in [1, 3] {
            let mut gone: Vec<usize> = Vec::new();
            for count in 1..n / unit {
                // the input that never comes costs nothing
                let with = |first: usize| {
                    let gone = gone.iter().copied().chain(first..first + unit).filter(|&j| j != 6);
                    loss(weight.host(), &hessian, n, &gone.collect::<Vec<_>>())
                };
                let there = (0..n).step_by(unit).filter(|first| !gone.contains(first));
                let next = there.min_by(|&a, &b| with(a).total_cmp(&with(b))).expect("some are left");
                gone.extend(next..next + unit);
                let kept = kept_by_batches(&problem, &inverse, (count, unit), 1);
                let expected: Vec<u8> = (0..n).map(|j| u8::from(!gone.contains(&j))).collect();
                assert_eq!(kept, expected, "{count} of {n} by {unit}");
            }
        }
    }
}
