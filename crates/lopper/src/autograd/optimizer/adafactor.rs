//! Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) without momentum: the second moment of a matrix is the product of a mean per
//! row and a mean per column, `V = r·cᵀ / mean(r)`, both with decay `1 − t^−0.8`; the step `u = g/√V` is cut to a root mean square of 1.
//!
//! Means are over what the mask keeps, so that pruned entries do not make those of their row look larger.

use rayon::prelude::*;

use super::{Rule, Update, kept_squares};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// Keeps a row without gradient from dividing by zero.
const SMALLEST: f64 = 1e-30;
const DECAY: f64 = -0.8;

/// Means of the squares of a tensor's gradients.
pub(super) struct Factors {
    columns: usize,
    /// Of each row, with how many entries it keeps.
    rows: Vec<(f64, usize)>,
    /// The same of each column; empty for a vector, each of whose entries is a row.
    across: Vec<(f64, usize)>,
}

impl Factors {
    pub(super) fn new(tensor: &Tensor, mask: Option<&Mask>) -> Self {
        let [rows, columns] = tensor.matrix().unwrap_or([tensor.len(), 1]);
        let kept = |row: usize, column: usize| mask.is_none_or(|mask| mask.as_slice()[row * columns + column] != 0);
        let of_row = |row| (0.0, (0..columns).filter(|&column| kept(row, column)).count());
        let of_column = |column| (0.0, (0..rows).filter(|&row| kept(row, column)).count());
        let across = if tensor.shape().len() == 2 { (0..columns).map(of_column).collect() } else { Vec::new() };
        Self { columns, rows: (0..rows).map(of_row).collect(), across }
    }

    /// Moves the means by `share` towards the squares of a masked gradient.
    fn see(&mut self, gradient: &[f32], share: f64) {
        let columns = self.columns;
        let squares = |row: &[f32]| row.iter().map(|&g| f64::from(g) * f64::from(g) + SMALLEST).sum::<f64>();
        self.rows
            .par_iter_mut()
            .zip(gradient.par_chunks(columns))
            .for_each(|(mean, row)| lerp(mean, squares(row), share));
        self.across.par_iter_mut().enumerate().for_each(|(column, mean)| {
            let squares = |&g: &f32| f64::from(g) * f64::from(g) + SMALLEST;
            lerp(mean, gradient[column..].iter().step_by(columns).map(squares).sum(), share);
        });
    }

    /// g/√V in place.
    fn precondition(&self, gradient: &mut [f32]) {
        let weighted = self.rows.iter().map(|&(mean, kept)| mean * kept as f64).sum::<f64>();
        let mean = (weighted / self.rows.iter().map(|row| row.1).sum::<usize>().max(1) as f64).max(SMALLEST);
        let across: Vec<f32> =
            self.across.iter().map(|&(column, _)| (column / mean).max(SMALLEST).sqrt().recip() as f32).collect();
        gradient.par_chunks_mut(self.columns).zip(&self.rows).for_each(|(row, &(mean, _))| {
            let root = mean.max(SMALLEST).sqrt().recip() as f32;
            for (place, g) in row.iter_mut().enumerate() {
                *g *= root * across.get(place).copied().unwrap_or(1.0);
            }
        });
    }
}

/// A row that keeps nothing has no mean.
fn lerp((mean, kept): &mut (f64, usize), sum: f64, share: f64) {
    if *kept > 0 {
        *mean += share * (sum / *kept as f64 - *mean);
    }
}

impl Rule for Factors {
    fn update(&mut self, Update { weight, gradient, mask, rate, weight_decay, step: number }: Update) {
        let mut step = gradient.to_vec();
        if let Some(mask) = mask {
            lopper_kernels::apply_mask(&mut step, mask);
        }
        self.see(&step, f64::from(number).powf(DECAY));
        self.precondition(&mut step);
        let (squares, count) = kept_squares(&step, mask);
        let size = (squares / count.max(1) as f64).sqrt().max(1.0);
        let (reach, keep) = ((f64::from(rate) / size) as f32, 1.0 - rate * weight_decay);
        weight.par_chunks_mut(self.columns).zip(step.par_chunks(self.columns)).for_each(|(weight, step)| {
            // a pruned weight is zero and its step too
            weight.iter_mut().zip(step).for_each(|(w, s)| *w = *w * keep - reach * s);
        });
    }
}
