//! Columns of a row eliminated from left to right: the inner loop of the sweep (Frantar & Alistarh 2023, arXiv 2301.00774).

use crate::dispatch::{Tier, simd, tier};
use crate::math::mul_add;

/// The upper triangular factor of a block of columns, and the instruction set to work with.
#[derive(Clone, Copy, Debug)]
pub struct Elimination<'a> {
    factor: &'a [f32],
    columns: usize,
    tier: Tier,
}

impl<'a> Elimination<'a> {
    /// `factor` is U `[columns, columns]`, row-major, upper triangular with a positive diagonal.
    ///
    /// # Panics
    ///
    /// If `factor` has another size.
    pub fn new(factor: &'a [f32], columns: usize) -> Self {
        assert_eq!(factor.len(), columns * columns, "elimination: the factor is not [{columns}, {columns}]");
        Self { factor, columns, tier: tier() }
    }

    /// Sets `w_j` to zero for each column `j` of `first..first + kept.len()` that is not kept, and moves what lies to its right by
    /// `−e_j·U_j,:` with `e_j = w_j / U_jj`, which goes to `errors` (0 for a kept column). `w` and `errors` are a row of the block.
    ///
    /// # Panics
    ///
    /// If a slice does not fit the block.
    pub fn eliminate(&self, w: &mut [f32], first: usize, kept: &[u8], errors: &mut [f32]) {
        assert!(
            w.len() == self.columns && errors.len() == self.columns && first + kept.len() <= self.columns,
            "elimination: a row of {} with {} errors, columns {first}..{} of {}",
            w.len(),
            errors.len(),
            first + kept.len(),
            self.columns
        );
        eliminate_row(self.tier, w, first, kept, self.factor, errors);
    }
}

simd! {
    fn eliminate_row(w: &mut [f32], first: usize, kept: &[u8], factor: &[f32], errors: &mut [f32]) {
        let n = w.len();
        for (j, &kept) in (first..).zip(kept) {
            errors[j] = 0.0;
            if kept == 1 {
                continue;
            }
            let row = &factor[j * n..(j + 1) * n];
            let error = w[j] / row[j];
            errors[j] = error;
            w[j] = 0.0;
            for (w, u) in w[j + 1..].iter_mut().zip(&row[j + 1..]) {
                *w = mul_add::<FUSED>(-error, *u, *w);
            }
        }
    }
}
