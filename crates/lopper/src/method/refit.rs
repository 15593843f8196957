//! The least-squares stand-in for what goes: the weight before it moves by the Δ that minimises `‖XΔᵀ − R‖² + γ‖Δ‖²`, where X is what the
//! weight reads and R what its output lacks. γ pulls to the weight that is there. (Of blocks that go, ReplaceMe, arXiv 2505.02819, fits a
//! matrix of the width of the states by itself; this one costs no parameter.)

use lopper_kernels::{Precision, View, matmul};
use rayon::prelude::*;

use super::SHARES;
use crate::linalg::{Gram, least_squares};

/// Share of the mean diagonal that γ is without inputs held out.
const SHARE: f64 = 0.01;
/// The solver stops when the residual of every row has fallen this far.
const TOLERANCE: f64 = 1e-4;

/// What is known of rows of X [tokens, d_in] and R [tokens, d_out]: `XᵀX`, `RᵀX`, `‖R‖²`. Sums are in f64.
#[derive(Clone, Debug)]
pub struct Moments {
    gram: Gram,
    /// [d_out, d_in]
    cross: Vec<f64>,
    squares: f64,
}

impl Moments {
    /// Of no rows yet.
    pub fn new(d_out: usize, d_in: usize) -> Self {
        Self { gram: Gram::new(d_in), cross: vec![0.0; d_out * d_in], squares: 0.0 }
    }

    /// Adds rows x [tokens, d_in] and r [tokens, d_out].
    pub fn add(&mut self, x: &[f32], r: &[f32]) {
        let d_in = self.gram.order();
        let (d_out, tokens) = (self.cross.len() / d_in.max(1), x.len() / d_in.max(1));
        self.gram.add(x);
        let mut product = vec![0.0; self.cross.len()];
        let right = View::new(x, tokens, d_in);
        matmul(&mut product, d_in, false, View::new(r, tokens, d_out).t(), right, Precision::F32);
        self.cross.par_iter_mut().zip(&product).for_each(|(sum, &one)| *sum += f64::from(one));
        self.squares += r.iter().map(|&r| f64::from(r) * f64::from(r)).sum::<f64>();
    }

    /// `‖XΔᵀ − R‖² / ‖R‖²`
    fn error(&self, delta: &[f32]) -> f64 {
        let (n, h) = (self.gram.order(), self.gram.damped(0.0));
        let mut image = vec![0.0; delta.len()];
        let rows = View::new(delta, delta.len() / n.max(1), n);
        matmul(&mut image, n, false, rows, View::new(h.host(), n, n), Precision::F32);
        let terms = delta.iter().zip(&image).zip(&self.cross);
        let sum: f64 = terms.map(|((&d, &y), &c)| f64::from(d) * (f64::from(y) - 2.0 * c)).sum();
        1.0 + sum / self.squares
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refit {
    /// Δ [d_out, d_in].
    pub delta: Vec<f32>,
    /// `‖XΔᵀ − R‖² / ‖R‖²` on the rows held out, or else on those it is made of; 1 where nothing moves.
    pub error: f64,
    /// γ
    pub damping: Option<f64>,
}

/// The Δ on the mask that leaves least on rows held out, with γ on a path from large to small; without any, that of a γ of 1 % of the mean of
/// the diagonal. Nothing moves where that would be worse.
pub fn refit(seen: &Moments, held_out: Option<&Moments>, kept: &[u8], iterations: usize) -> Refit {
    let right: Vec<f32> = seen.cross.iter().map(|&sum| sum as f32).collect();
    let mut best = Refit { delta: vec![0.0; right.len()], error: 1.0, damping: None };
    let shares: &[f64] = if held_out.is_some() { &SHARES } else { &[SHARE] };
    for share in shares {
        let damping = share * seen.gram.mean_diagonal();
        // the full Gram matrix is let go of before the error takes another
        let delta = {
            let h = seen.gram.damped(damping);
            least_squares(&right, &best.delta, kept, h.host(), iterations, TOLERANCE).weight
        };
        let error = held_out.unwrap_or(seen).error(&delta);
        if error.is_nan() || error >= best.error {
            break;
        }
        best = Refit { delta, error, damping: Some(damping) };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{Moments, Refit, refit};
    use crate::linalg::{Uniform, cholesky};

    const TOKENS: usize = 60;
    const D_IN: usize = 7;
    const D_OUT: usize = 4;

    /// Rows of X, and of R, which X explains in part.
    fn rows(seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut noise = Uniform::new(seed);
        let mut next = || noise.next().unwrap_or(0.0) - 0.5;
        let x: Vec<f32> = (0..TOKENS * D_IN).map(|_| next()).collect();
        let row = |x: &[f32]| -> Vec<f32> { (0..D_OUT).map(|i| x[i] - 2.0 * x[(i + 3) % D_IN]).collect() };
        let r = x.chunks(D_IN).flat_map(row).collect::<Vec<f32>>().into_iter().map(|r| r + 0.3 * next()).collect();
        (x, r)
    }

    fn moments((x, r): &(Vec<f32>, Vec<f32>)) -> Moments {
        let mut moments = Moments::new(D_OUT, D_IN);
        let half = TOKENS / 2;
        moments.add(&x[..half * D_IN], &r[..half * D_OUT]);
        moments.add(&x[half * D_IN..], &r[half * D_OUT..]);
        moments
    }

    /// `‖XΔᵀ − R‖² / ‖R‖²` in f64, element by element.
    fn error((x, r): &(Vec<f32>, Vec<f32>), delta: &[f32]) -> f64 {
        let (mut missed, mut all) = (0.0, 0.0);
        for (x, r) in x.chunks(D_IN).zip(r.chunks(D_OUT)) {
            for (delta, &r) in delta.chunks(D_IN).zip(r) {
                let y: f64 = x.iter().zip(delta).map(|(&x, &d)| f64::from(x) * f64::from(d)).sum();
                missed += (y - f64::from(r)).powi(2);
                all += f64::from(r).powi(2);
            }
        }
        missed / all
    }

    /// The kept entries of a row of Δ from the normal equations `Δ(XᵀX + γI) = RᵀX` on them, by Cholesky in f64.
    fn reference((x, r): &(Vec<f32>, Vec<f32>), row: usize, kept: &[u8], damping: f64) -> Vec<f64> {
        let places: Vec<usize> = (0..D_IN).filter(|&j| kept[j] == 1).collect();
        let dot = |f: &dyn Fn(usize) -> f64| (0..TOKENS).map(f).sum::<f64>();
        let at = |values: &[f32], width: usize, t: usize, j: usize| f64::from(values[t * width + j]);
        let mut h = Vec::new();
        for &i in &places {
            for &j in &places {
                let sum = dot(&|t| at(x, D_IN, t, i) * at(x, D_IN, t, j));
                h.push(sum + if i == j { damping } else { 0.0 });
            }
        }
        let mut right: Vec<f64> = places.iter().map(|&j| dot(&|t| at(r, D_OUT, t, row) * at(x, D_IN, t, j))).collect();
        assert!(cholesky::solve(&mut h, &mut right), "positive definite");
        let mut solution = vec![0.0; D_IN];
        places.into_iter().zip(right).for_each(|(place, value)| solution[place] = value);
        solution
    }

    #[test]
    fn it_is_the_least_squares_solution_on_the_mask() {
        let (seen, held_out) = (rows(1), rows(2));
        let kept: Vec<u8> = (0..D_OUT * D_IN).map(|place| u8::from(place % 5 != 3)).collect();
        for judged in [None, Some(&held_out)] {
            let Refit { delta, error: left, damping } =
                refit(&moments(&seen), judged.map(moments).as_ref(), &kept, 100);
            let damping = damping.expect("something moves");
            for (row, delta) in delta.chunks(D_IN).enumerate() {
                let expected = reference(&seen, row, &kept[row * D_IN..][..D_IN], damping);
                for (delta, expected) in delta.iter().zip(expected) {
                    assert!((f64::from(*delta) - expected).abs() < 1e-4, "row {row}: {delta} against {expected}");
                }
            }
            let naive = error(judged.unwrap_or(&seen), &delta);
            assert!((left - naive).abs() < 1e-4, "{left} against {naive}");
            assert!(left < 0.5, "{left}");
        }
    }

    #[test]
    fn nothing_moves_where_that_is_worse_on_what_is_held_out() {
        let (seen, mut held_out) = (rows(1), rows(2));
        held_out.1.iter_mut().for_each(|r| *r = -*r);
        let all = [1; D_OUT * D_IN];
        let found = refit(&moments(&seen), Some(&moments(&held_out)), &all, 100);
        assert_eq!(found, Refit { delta: vec![0.0; D_OUT * D_IN], error: 1.0, damping: None });
    }
}
