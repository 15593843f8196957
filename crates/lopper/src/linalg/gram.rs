//! The Gram matrix `G = XᵀX` of a stream of inputs, in triangular form.

use lopper_kernels::{Precision, View, matmul};
use rayon::prelude::*;

use crate::tensor::Tensor;

/// Rows of X multiplied in f32 at a time, before the sum moves to f64.
const ROWS: usize = 4096;

/// Rows of G computed at a time, up to the diagonal: few enough to skip most of the upper triangle.
const PANEL: usize = 384;
/// Side of the squares in which the triangle is unfolded.
const TILE: usize = 32;

/// `G = XᵀX` [n, n]; products in f32 over at most 4096 rows, their sums in f64. Only the lower triangle is kept, packed by rows.
#[derive(Clone, Debug)]
pub struct Gram {
    n: usize,
    /// [n(n + 1)/2]
    packed: Tensor<f64>,
    /// Sum of the chunk at hand, [n, n]; reused.
    chunk: Vec<f32>,
}

impl Gram {
    /// Of no rows yet.
    pub fn new(n: usize) -> Self {
        Self { n, packed: Tensor::zeros([n * (n + 1) / 2]), chunk: Vec::new() }
    }

    /// Number of inputs.
    pub fn order(&self) -> usize {
        self.n
    }

    /// Adds the rows of x [rows, n].
    pub fn add(&mut self, x: &[f32]) {
        let n = self.n;
        self.chunk.resize(n * n, 0.0);
        for x in x.chunks(ROWS * n) {
            let rows = x.len() / n;
            for first in (0..n).step_by(PANEL) {
                let last = n.min(first + PANEL);
                let left = View::strided(&x[first..], rows, last - first, n).t();
                let right = View::strided(x, rows, last, n);
                matmul(&mut self.chunk[first * n..], n, false, left, right, Precision::F32);
            }
            let chunk = &self.chunk;
            rows_of(self.packed.host_mut(), n).into_par_iter().with_min_len(64).for_each(|(i, sums)| {
                for (sum, &product) in sums.iter_mut().zip(&chunk[i * n..]) {
                    *sum += f64::from(product);
                }
            });
        }
    }

    /// Adds what another has counted.
    ///
    /// # Panics
    /// If it is of another order.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.n, other.n, "inputs of one width");
        self.packed.host_mut().iter_mut().zip(other.packed.host()).for_each(|(sum, other)| *sum += other);
    }

    /// Adds what another has counted, times a factor.
    ///
    /// # Panics
    /// If it is of another order.
    pub fn merge_scaled(&mut self, other: &Self, factor: f64) {
        assert_eq!(self.n, other.n, "inputs of one width");
        self.packed.host_mut().iter_mut().zip(other.packed.host()).for_each(|(sum, other)| *sum += factor * other);
    }

    /// Frees the space that [`Gram::add`] works in.
    pub fn shrink(&mut self) {
        self.chunk = Vec::new();
    }

    /// `G_ij`, for i and j in any order.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (low, high) = (i.min(j), i.max(j));
        self.packed.host()[high * (high + 1) / 2 + low]
    }

    /// `Σ x_j²` of each input, `[n]`.
    pub fn diagonal(&self) -> Tensor<f64> {
        let packed = self.packed.host();
        Tensor::new([self.n], (0..self.n).map(|i| packed[i * (i + 1) / 2 + i]).collect())
    }

    /// The full symmetric matrix [n, n] with `damping` added to the diagonal, as f32.
    pub fn damped(&self, damping: f64) -> Tensor {
        let (n, packed) = (self.n, self.packed.host());
        // tiles of rows and columns: above the diagonal the triangle is read down its columns
        let unfold = |(tile, rows): (usize, &mut [f32])| {
            for first in (0..n).step_by(TILE) {
                for (i, row) in (tile * TILE..).zip(rows.chunks_exact_mut(n)) {
                    for (j, value) in (first..n).zip(&mut row[first..n.min(first + TILE)]) {
                        let (low, high) = (i.min(j), i.max(j));
                        *value = (packed[high * (high + 1) / 2 + low] + if i == j { damping } else { 0.0 }) as f32;
                    }
                }
            }
        };
        Tensor::filled([n, n], |full| full.par_chunks_mut(n * TILE).enumerate().for_each(unfold))
    }

    /// The mean of the diagonal.
    pub fn mean_diagonal(&self) -> f64 {
        self.diagonal().host().iter().sum::<f64>() / self.n.max(1) as f64
    }
}

/// The rows of a packed lower triangle.
fn rows_of(packed: &mut [f64], n: usize) -> Vec<(usize, &mut [f64])> {
    let mut rest = packed;
    (0..n)
        .map(|i| {
            let (row, tail) = std::mem::take(&mut rest).split_at_mut(i + 1);
            rest = tail;
            (i, row)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Gram;

    #[test]
    fn equals_the_definition() {
        let (rows, n) = (9000, 13);
        let x: Vec<f32> = (0..rows * n).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.3).collect();
        let mut gram = Gram::new(n);
        for part in x.chunks(n * 5000) {
            gram.add(part);
        }
        let full = gram.damped(0.5).into_vec();
        for i in 0..n {
            for j in 0..n {
                let exact: f64 = (0..rows).map(|t| f64::from(x[t * n + i]) * f64::from(x[t * n + j])).sum();
                let exact = exact + if i == j { 0.5 } else { 0.0 };
                assert!((f64::from(full[i * n + j]) - exact).abs() < 1e-5 * exact.abs().max(1.0), "{i} {j}");
            }
        }
    }

    #[test]
    fn is_the_same_for_any_number_of_threads() {
        let x: Vec<f32> = (0..2048 * 600).map(|i| ((i * 31) % 101) as f32 / 101.0 - 0.3).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let mut gram = Gram::new(600);
                gram.add(&x);
                gram.damped(0.0)
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }
}
