//! The upper triangular U with `H⁻¹ = UᵀU`, `H = XᵀX + γI`: what the sweep, the saliencies and the subset losses are made of.
//!
//! Frantar & Alistarh (2023, arXiv 2301.00774) invert H and factorise the inverse. From the last row up, H has a Cholesky factor S,
//! lower triangular with `H = SᵀS`, and `U = S⁻ᵀ`: one factorisation and one triangular inverse, half the work and no inverse formed in
//! between. The factorisation, which can fail, is in f64; the inverse of the factor, whose condition number is the root of that of H,
//! in f32.

use lopper_kernels::cholesky;
use rayon::prelude::*;

use super::Gram;
use super::triangular_inverse::invert_upper;
use crate::tensor::Tensor;

/// Side of the squares in which the factor is transposed: a cache line of f64, and few enough lines that do not push each other out.
const TILE: usize = 8;
/// Columns whose squares a task sums.
const COLUMNS: usize = 256;
/// Between attempts damping grows by this factor.
const HARDER: f64 = 10.0;

/// U [n, n] of `H = XᵀX + γI`, and the γ that made H positive definite.
#[derive(Clone, Debug)]
pub struct InverseHessian {
    /// [n, n]
    upper: Tensor,
    /// [n]
    diagonal: Tensor<f64>,
    damping: f64,
    attempts: usize,
}

impl InverseHessian {
    /// Of a Gram matrix with `damping` times its mean diagonal added. If that is not positive definite, damping grows tenfold until it
    /// equals the mean diagonal; `None` if that fails too, or nothing but zeros or a NaN was seen.
    pub fn new(gram: &Gram, damping: f64) -> Option<Self> {
        let mean = gram.mean_diagonal();
        if !(mean > 0.0 && mean.is_finite()) {
            return None;
        }
        let mut share = damping;
        for attempts in 1.. {
            if let Some((upper, diagonal)) = upper_factor(gram, share * mean) {
                return Some(Self { upper, diagonal, damping: share * mean, attempts });
            }
            if share >= 1.0 {
                break;
            }
            share = (share * HARDER).clamp(1e-4, 1.0);
        }
        None
    }

    /// Number of inputs.
    pub fn order(&self) -> usize {
        self.upper.width()
    }

    /// U [n, n]; zero below the diagonal.
    pub fn upper(&self) -> &Tensor {
        &self.upper
    }

    /// γ.
    pub fn damping(&self) -> f64 {
        self.damping
    }

    /// How many values of γ were tried.
    pub fn attempts(&self) -> usize {
        self.attempts
    }

    /// `[H⁻¹]_jj` of each input, `[n]`: `Σ_{i ≤ j} U_ij²`.
    pub fn diagonal(&self) -> &Tensor<f64> {
        &self.diagonal
    }

    /// `[H⁻¹]_GG` of the inputs `first..first + count`, row-major [count, count].
    pub fn group(&self, first: usize, count: usize) -> Vec<f64> {
        self.product(0, first, count)
    }

    /// The same when all inputs before `first` are frozen: the block of the inverse of what remains of H.
    pub fn group_of_rest(&self, first: usize, count: usize) -> Vec<f64> {
        self.product(first, first, count)
    }

    /// `U[from.., G]ᵀ·U[from.., G]`.
    fn product(&self, from: usize, first: usize, count: usize) -> Vec<f64> {
        let (n, upper) = (self.order(), self.upper.host());
        let mut sums = vec![0.0; count * count];
        for row in from..first + count {
            let u = &upper[row * n + first..][..count];
            for (i, &a) in u.iter().enumerate() {
                for (sum, &b) in sums[i * count..].iter_mut().zip(u) {
                    *sum += f64::from(a) * f64::from(b);
                }
            }
        }
        sums
    }
}

/// U as f32 and the diagonal of UᵀU; `None` if the damped matrix is not positive definite.
fn upper_factor(gram: &Gram, damping: f64) -> Option<(Tensor, Tensor<f64>)> {
    let n = gram.order();
    // the system hands out zeros page by page, so what lies above the diagonal costs nothing
    let mut factor = vec![0.0; n * n];
    factor.par_chunks_exact_mut(n).enumerate().for_each(|(i, row)| {
        row.iter_mut().enumerate().take(i + 1).for_each(|(j, value)| *value = gram.get(i, j));
        row[i] += damping;
    });
    if !cholesky(&mut factor, n) {
        return None;
    }
    let mut upper = transposed(&factor, n);
    drop(factor);
    invert_upper(upper.host_mut(), n);
    let diagonal = column_squares(upper.host(), n);
    diagonal.host().iter().all(|d| d.is_finite() && *d > 0.0).then_some((upper, diagonal))
}

/// The upper triangle of the transpose, in f32. Tiles of rows and columns stay in the caches.
fn transposed(factor: &[f64], n: usize) -> Tensor {
    let turn = |(tile, rows): (usize, &mut [f32])| {
        for first in (tile * TILE..n).step_by(TILE) {
            for (i, row) in (tile * TILE..).zip(rows.chunks_exact_mut(n)) {
                for j in first.max(i)..n.min(first + TILE) {
                    row[j] = factor[j * n + i] as f32;
                }
            }
        }
    };
    Tensor::filled([n, n], |upper| upper.par_chunks_mut(n * TILE).enumerate().for_each(turn))
}

/// `Σ_i U_ij²` of each column.
fn column_squares(upper: &[f32], n: usize) -> Tensor<f64> {
    let sum = |(chunk, sums): (usize, &mut [f64])| {
        let first = chunk * COLUMNS;
        for row in upper.chunks_exact(n).take(first + sums.len()) {
            for (sum, &u) in sums.iter_mut().zip(&row[first..]) {
                *sum += f64::from(u) * f64::from(u);
            }
        }
    };
    Tensor::filled([n], |sums| sums.par_chunks_mut(COLUMNS).enumerate().for_each(sum))
}

#[cfg(test)]
mod tests {
    use super::{Gram, InverseHessian};

    fn gram(rows: usize, n: usize) -> Gram {
        let mut state = 7u32;
        let x: Vec<f32> = (0..rows * n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 0.7
            })
            .collect();
        let mut gram = Gram::new(n);
        gram.add(&x);
        gram
    }

    #[test]
    fn is_the_factor_of_the_inverse() {
        let n = 37;
        let gram = gram(80, n);
        let inverse = InverseHessian::new(&gram, 0.01).expect("positive definite");
        let (u, damping) = (inverse.upper().host(), inverse.damping());
        assert_eq!(inverse.attempts(), 1);
        // UᵀU·H = I
        let product: Vec<f64> = inverse.group(0, n);
        for i in 0..n {
            for j in 0..n {
                let h = |k: usize| gram.get(k.min(j), k.max(j)) + if k == j { damping } else { 0.0 };
                let entry: f64 = (0..n).map(|k| product[i * n + k] * h(k)).sum();
                assert!((entry - f64::from(u8::from(i == j))).abs() < 1e-4, "{i} {j}: {entry}");
                assert!(j >= i || u[i * n + j] == 0.0);
            }
            assert!((inverse.diagonal().host()[i] / product[i * n + i] - 1.0).abs() < 1e-5);
        }
        // the last inputs alone: their inverse when everything before is frozen is the inverse of their own block
        let rest = inverse.group_of_rest(n - 1, 1)[0];
        assert!((rest * (gram.get(n - 1, n - 1) + damping) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn is_the_same_for_any_number_of_threads() {
        let gram = gram(900, 700);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| InverseHessian::new(&gram, 0.01).expect("positive definite").upper().clone())
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }

    #[test]
    fn damping_grows_until_the_matrix_is_positive_definite() {
        // two rows, nine inputs: singular without damping
        let singular = gram(2, 9);
        let inverse = InverseHessian::new(&singular, 0.0).expect("damping helps");
        assert!(inverse.attempts() > 1 && inverse.damping() > 0.0);
        assert!(InverseHessian::new(&Gram::new(4), 0.01).is_none(), "nothing was seen");
    }
}
