//! Mask refinement: a kept and a pruned weight of a row change places whenever that lowers the error of the layer
//! (the 1-swap search of Zimmer et al. 2025, arXiv 2512.10922).
//!
//! With `e = w − ŵ` of a row and `g = eG`, pruning p and reviving r changes `eGeᵀ` by
//! `2 w_p g_p + w_p² G_pp − 2 w_r g_r + w_r² G_rr − 2 w_p w_r G_pr`: the cost of pruning alone, the gain of reviving alone, and what the
//! two have to do with each other. N:M masks are searched whole, group after group. In an unstructured row the search is among the
//! weights that are cheapest to prune and those that gain most, not among all d_in²/4 pairs. Each swap lowers the error, so it never
//! ends above where it began; it stops when it finds none, or at its budget.

use rayon::prelude::*;

use super::LayerProblem;
use crate::linalg::Gram;
use crate::sparsity::{Mask, Pattern, Scope};

/// So many candidates on either side of a swap.
const CANDIDATES: usize = 64;
/// A swap must lower the error by this share of it; less is rounding.
const LEAST_GAIN: f32 = 1e-6;

/// Refines a mask of the pattern by at most `budget` swaps per row. Returns the mask and the number of swaps.
/// What competes within a matrix keeps the number of weights that each row has.
pub(super) fn refine(problem: &LayerProblem, gram: &Gram, mask: &Mask, budget: usize) -> (Mask, usize) {
    let n = problem.columns();
    let g = gram.damped(0.0);
    let mut kept = mask.as_slice().to_vec();
    let group = match *problem.pattern {
        Pattern::NofM { of, .. } => Some(of),
        Pattern::Unstructured { scope: Scope::Row | Scope::Matrix, .. }
        | Pattern::Inputs { .. }
        | Pattern::Outputs { .. } => None,
    };
    let rows = kept.par_chunks_exact_mut(n).zip(problem.weight.host().par_chunks_exact(n));
    let swaps = rows
        .map(|(kept, w)| {
            let mut row = Row::new(w, kept, g.host());
            match group {
                Some(of) => row.refine_groups(of, budget),
                None => row.refine(budget),
            }
        })
        .sum();
    (Mask::new(n, kept), swaps)
}

/// A row on its way.
struct Row<'a> {
    w: &'a [f32],
    kept: &'a mut [u8],
    g: &'a [f32],
    /// `(w − ŵ)G`
    gradient: Vec<f32>,
    /// `(w − ŵ)G(w − ŵ)ᵀ`
    error: f32,
}

impl<'a> Row<'a> {
    fn new(w: &'a [f32], kept: &'a mut [u8], g: &'a [f32]) -> Self {
        let n = w.len();
        let mut gradient = vec![0.0; n];
        for j in (0..n).filter(|&j| kept[j] == 0 && w[j] != 0.0) {
            gradient.iter_mut().zip(&g[j * n..]).for_each(|(sum, g)| *sum += w[j] * g);
        }
        let error = (0..n).filter(|&j| kept[j] == 0).map(|j| w[j] * gradient[j]).sum();
        Self { w, kept, g, gradient, error }
    }

    /// By how much the error changes if weight j alone changes sides.
    fn change(&self, j: usize) -> f32 {
        let (w, own) = (self.w[j], self.g[j * self.w.len() + j]);
        let sign = if self.kept[j] == 1 { 2.0 } else { -2.0 };
        sign * w * self.gradient[j] + w * w * own
    }

    /// The best swap of one of `prune` (kept, change) with one of `revive` (pruned, change), if any lowers the error.
    fn best(&self, prune: &[(usize, f32)], revive: &[(usize, f32)]) -> Option<(usize, usize, f32)> {
        let n = self.w.len();
        let mut best = None;
        let mut least = -LEAST_GAIN * self.error;
        for &(r, gain) in revive {
            let (row, twice) = (&self.g[r * n..(r + 1) * n], 2.0 * self.w[r]);
            for &(p, cost) in prune {
                let change = cost + gain - twice * self.w[p] * row[p];
                if change < least {
                    (least, best) = (change, Some((p, r, change)));
                }
            }
        }
        best
    }

    fn swap(&mut self, (p, r, change): (usize, usize, f32)) {
        let n = self.w.len();
        (self.kept[p], self.kept[r]) = (0, 1);
        let (g_p, g_r) = (&self.g[p * n..(p + 1) * n], &self.g[r * n..(r + 1) * n]);
        let (w_p, w_r) = (self.w[p], self.w[r]);
        for (sum, (g_p, g_r)) in self.gradient.iter_mut().zip(g_p.iter().zip(g_r)) {
            *sum += w_p * g_p - w_r * g_r;
        }
        self.error = (self.error + change).max(0.0);
    }

    /// Weights of `range` on one side with their changes.
    fn side(&self, range: std::ops::Range<usize>, kept: u8) -> Vec<(usize, f32)> {
        range.filter(|&j| self.kept[j] == kept).map(|j| (j, self.change(j))).collect()
    }

    fn refine(&mut self, budget: usize) -> usize {
        for swaps in 0..budget {
            let [prune, revive] = [1, 0].map(|kept| cheapest(self.side(0..self.w.len(), kept)));
            match self.best(&prune, &revive) {
                Some(swap) => self.swap(swap),
                None => return swaps,
            }
        }
        budget
    }

    fn refine_groups(&mut self, of: usize, budget: usize) -> usize {
        let mut swaps = 0;
        loop {
            let before = swaps;
            for first in (0..self.w.len()).step_by(of) {
                if swaps == budget {
                    return swaps;
                }
                let [prune, revive] = [1, 0].map(|kept| self.side(first..first + of, kept));
                if let Some(swap) = self.best(&prune, &revive) {
                    self.swap(swap);
                    swaps += 1;
                }
            }
            if swaps == before {
                return swaps;
            }
        }
    }
}

/// The candidates of the smallest change, ties at the lower index.
fn cheapest(mut side: Vec<(usize, f32)>) -> Vec<(usize, f32)> {
    if side.len() > CANDIDATES {
        side.select_nth_unstable_by(CANDIDATES, |a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        side.truncate(CANDIDATES);
        side.sort_unstable_by_key(|&(j, _)| j);
    }
    side
}
