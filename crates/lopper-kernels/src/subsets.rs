//! Which subset of a group of weights is cheapest to prune: quadratic forms of every subset at once
//! (Zhao et al. 2024, arXiv 2410.15567, eq. 12).

use crate::dispatch::{Tier, simd, tier};
use crate::math::mul_add;

/// Subsets are handled in runs of so many; a table is padded to a multiple of it.
pub const SUBSET_LANES: usize = 16;

/// A quadratic form for each subset of a group of `group` weights: `loss_s(w) = Σ_{i ≤ j} c[ij, s]·w_i·w_j`.
#[derive(Clone, Copy, Debug)]
pub struct SubsetForms<'a> {
    coefficients: &'a [f32],
    group: usize,
    subsets: usize,
    tier: Tier,
}

impl<'a> SubsetForms<'a> {
    /// `coefficients` is `[group·(group + 1)/2, subsets]`, pairs (i, j ≥ i) in the order of i, then j; `subsets` is a multiple of
    /// [`SUBSET_LANES`].
    ///
    /// # Panics
    ///
    /// If the sizes contradict each other.
    pub fn new(coefficients: &'a [f32], group: usize, subsets: usize) -> Self {
        assert!(
            coefficients.len() == group * (group + 1) / 2 * subsets && subsets.is_multiple_of(SUBSET_LANES),
            "subset forms: {} coefficients for {subsets} subsets of a group of {group}",
            coefficients.len()
        );
        Self { coefficients, group, subsets, tier: tier() }
    }

    /// The loss of each subset for the weights `w` of a group, into `losses`.
    ///
    /// # Panics
    ///
    /// If a slice has another length than the forms ask for.
    pub fn losses(&self, w: &[f32], losses: &mut [f32]) {
        assert!(w.len() == self.group && losses.len() == self.subsets, "subset forms: wrong group or losses");
        evaluate(self.tier, w, self.coefficients, losses);
    }
}

simd! {
    fn evaluate(w: &[f32], coefficients: &[f32], losses: &mut [f32]) {
        let subsets = losses.len();
        for (lane, losses) in losses.chunks_exact_mut(SUBSET_LANES).enumerate() {
            let mut sums = [0.0; SUBSET_LANES];
            let mut start = lane * SUBSET_LANES;
            for i in 0..w.len() {
                for j in i..w.len() {
                    let product = w[i] * w[j];
                    for (sum, c) in sums.iter_mut().zip(&coefficients[start..start + SUBSET_LANES]) {
                        *sum = mul_add::<FUSED>(product, *c, *sum);
                    }
                    start += subsets;
                }
            }
            losses.copy_from_slice(&sums);
        }
    }
}
