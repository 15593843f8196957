//! Which N of M consecutive weights to keep, group by group.
//!
//! Solution S takes the smallest `w_j² / [H⁻¹]_jj` one by one. Solution M takes the subset P whose joint removal costs least,
//! `½ w_P [(H⁻¹)_PP]⁻¹ w_Pᵀ` (Zhao et al. 2024, arXiv 2410.15567, eq. 12): all C(M, N) subsets are evaluated at once as quadratic forms
//! whose coefficients are computed once per group, for all rows. Where there are too many, weights are removed one after another, each
//! time the one that costs least given those before.

use lopper_kernels::{SUBSET_LANES, SubsetForms};

use crate::linalg::cholesky;

/// More subsets than this are not enumerated: 8:16 (12870) is, 16:32 is not.
const MOST_SUBSETS: usize = 20_000;

/// How the groups of a block of columns are chosen.
pub(super) struct GroupRule {
    of: usize,
    pruned: usize,
    kind: Kind,
}

enum Kind {
    /// `1 / [H⁻¹]_jj` of each column.
    Saliency(Vec<f32>),
    /// Subsets as bits of what is pruned, and the coefficients of their losses by group.
    Forms { subsets: Vec<u32>, coefficients: Vec<Vec<f32>> },
    /// `[H⁻¹]_GG` of each group.
    Greedy(Vec<Vec<f32>>),
}

impl GroupRule {
    /// Solution S, by the importance of each column of the block.
    pub fn saliency(importance: &[f32], keep: usize, of: usize) -> Self {
        Self { of, pruned: of - keep, kind: Kind::Saliency(importance.to_vec()) }
    }

    /// Solution M, by `[H⁻¹]_GG` [of, of] of each group.
    pub fn subset(inverses: Vec<Vec<f64>>, keep: usize, of: usize) -> Self {
        let pruned = of - keep;
        let kind = if binomial(of, pruned) <= MOST_SUBSETS {
            let subsets = subsets(of, pruned);
            let coefficients = inverses.iter().map(|inverse| coefficients(inverse, of, &subsets)).collect();
            Kind::Forms { subsets, coefficients }
        } else {
            Kind::Greedy(inverses.into_iter().map(|inverse| inverse.into_iter().map(|x| x as f32).collect()).collect())
        };
        Self { of, pruned, kind }
    }

    /// M.
    pub fn length(&self) -> usize {
        self.of
    }

    /// Marks what is kept of the weights `w` of a group of the block. Ties go to the lower index.
    pub fn choose(&self, group: usize, w: &[f32], kept: &mut [u8], scratch: &mut Vec<f32>) {
        kept.fill(1);
        match &self.kind {
            Kind::Saliency(importance) => {
                let importance = &importance[group * self.of..][..self.of];
                scratch.clear();
                scratch.extend(w.iter().zip(importance).map(|(w, importance)| w * w * importance));
                for _ in 0..self.pruned {
                    prune_smallest(scratch, kept);
                }
            }
            Kind::Forms { subsets, coefficients } => {
                let count = subsets.len().next_multiple_of(SUBSET_LANES);
                scratch.resize(count, 0.0);
                SubsetForms::new(&coefficients[group], self.of, count).losses(w, scratch);
                let mut best = 0;
                for (index, loss) in scratch[..subsets.len()].iter().enumerate() {
                    best = if *loss < scratch[best] { index } else { best };
                }
                kept.iter_mut().enumerate().for_each(|(j, kept)| *kept = u8::from(subsets[best] >> j & 1 == 0));
            }
            Kind::Greedy(inverses) => greedy(&inverses[group], w, self.pruned, kept, scratch),
        }
    }
}

/// Prunes the smallest score that is still kept.
fn prune_smallest(scores: &[f32], kept: &mut [u8]) -> usize {
    let mut best = usize::MAX;
    for (j, &score) in scores.iter().enumerate() {
        if kept[j] == 1 && (best == usize::MAX || score < scores[best]) {
            best = j;
        }
    }
    kept[best] = 0;
    best
}

/// Weights of a group removed one by one, each time the one that costs least, with weight and inverse brought down in between.
fn greedy(inverse: &[f32], w: &[f32], pruned: usize, kept: &mut [u8], scratch: &mut Vec<f32>) {
    let n = w.len();
    scratch.clear();
    scratch.extend_from_slice(inverse);
    scratch.extend_from_slice(w);
    for _ in 0..pruned {
        let (a, w) = scratch.split_at_mut(n * n);
        let costs: [f32; 32] = std::array::from_fn(|j| if j < n { w[j] * w[j] / a[j * n + j] } else { f32::INFINITY });
        let p = prune_smallest(&costs[..n], kept);
        let row: [f32; 32] = std::array::from_fn(|j| if j < n { a[p * n + j] } else { 0.0 });
        let (error, scale) = (w[p] / row[p], 1.0 / row[p]);
        for j in 0..n {
            w[j] -= error * row[j];
            for k in 0..n {
                a[j * n + k] -= row[j] * row[k] * scale;
            }
        }
    }
}

/// `½ w_P [(H⁻¹)_PP]⁻¹ w_Pᵀ` of each subset as coefficients of the products `w_i·w_j`, i ≤ j: [pairs, subsets], padded with zeros.
fn coefficients(inverse: &[f64], of: usize, subsets: &[u32]) -> Vec<f32> {
    let count = subsets.len().next_multiple_of(SUBSET_LANES);
    let mut table = vec![0.0; of * (of + 1) / 2 * count];
    let pair = |i: usize, j: usize| i * of - i * (i + 1) / 2 + j;
    for (s, bits) in subsets.iter().enumerate() {
        let members: Vec<usize> = (0..of).filter(|j| bits >> j & 1 == 1).collect();
        let entry = |at: usize| inverse[members[at / members.len()] * of + members[at % members.len()]];
        let block: Vec<f64> = (0..members.len() * members.len()).map(entry).collect();
        // a group that is not positive definite costs very much, so that another subset is taken
        let solved = cholesky::inverse(block, members.len());
        for (a, &i) in members.iter().enumerate() {
            for (b, &j) in members.iter().enumerate().skip(a) {
                let entry = match &solved {
                    Some(inverse) => inverse[a * members.len() + b],
                    None => f64::from(u8::from(a == b)) * 1e30,
                };
                table[pair(i, j) * count + s] = (if a == b { 0.5 * entry } else { entry }) as f32;
            }
        }
    }
    table
}

/// All subsets of `size` of `of` members as bits, in ascending order: those of lower indices first.
fn subsets(of: usize, size: usize) -> Vec<u32> {
    let mut bits = (1u64 << size) - 1;
    let mut all = Vec::new();
    while bits < 1 << of {
        all.push(bits as u32);
        // the next number with as many bits (Gosper's step)
        let lowest = bits & bits.wrapping_neg();
        let ripple = bits + lowest;
        bits = ripple | (((bits ^ ripple) >> 2) / lowest);
    }
    all
}

/// C(n, k), saturating.
fn binomial(n: usize, k: usize) -> usize {
    (0..k).fold(1usize, |product, i| product.saturating_mul(n - i) / (i + 1))
}

#[cfg(test)]
mod tests {
    use super::{GroupRule, binomial};

    /// A positive definite matrix.
    fn matrix(n: usize, seed: u32) -> Vec<f64> {
        let x: Vec<f64> =
            (0..3 * n * n).map(|i| f64::from((i as u32 * 7919 + seed * 104_729) % 1009) / 500.0 - 1.0).collect();
        let entry = |i: usize, j: usize| (0..3 * n).map(|t| x[t * n + i] * x[t * n + j]).sum::<f64>();
        (0..n * n).map(|ij| entry(ij / n, ij % n) + if ij % (n + 1) == 0 { 0.1 } else { 0.0 }).collect()
    }

    /// `w_P [(A)_PP]⁻¹ w_Pᵀ` by Gaussian elimination.
    fn loss(a: &[f64], w: &[f32], n: usize, members: &[usize]) -> f64 {
        let k = members.len();
        let mut m: Vec<Vec<f64>> =
            members.iter().map(|&i| members.iter().map(|&j| a[i * n + j]).chain([f64::from(w[i])]).collect()).collect();
        for p in 0..k {
            for r in 0..k {
                if r != p {
                    let factor = m[r][p] / m[p][p];
                    (p..=k).for_each(|c| m[r][c] -= factor * m[p][c]);
                }
            }
        }
        (0..k).map(|i| f64::from(w[members[i]]) * m[i][k] / m[i][i]).sum()
    }

    #[test]
    fn the_subset_is_the_cheapest_of_all() {
        for (keep, of) in [(2, 4), (1, 4), (3, 4), (4, 8), (1, 2)] {
            for seed in 0..40 {
                let a = matrix(of, seed);
                let w: Vec<f32> = (0..of).map(|j| ((j as u32 * 31 + seed * 17) % 101) as f32 / 50.0 - 1.0).collect();
                let mut kept = vec![0; of];
                GroupRule::subset(vec![a.clone()], keep, of).choose(0, &w, &mut kept, &mut Vec::new());
                let chosen: Vec<usize> = (0..of).filter(|&j| kept[j] == 0).collect();
                assert_eq!(chosen.len(), of - keep);
                let best = (0..1u32 << of)
                    .filter(|bits| bits.count_ones() as usize == of - keep)
                    .map(|bits| loss(&a, &w, of, &(0..of).filter(|j| bits >> j & 1 == 1).collect::<Vec<_>>()))
                    .fold(f64::MAX, f64::min);
                assert!(loss(&a, &w, of, &chosen) <= best * 1.0001 + 1e-9, "{keep}:{of} seed {seed}");
            }
        }
    }

    #[test]
    fn one_by_one_is_near_the_cheapest() {
        let of = 8;
        let (mut sum, mut best_sum) = (0.0, 0.0);
        for seed in 0..40 {
            let a = matrix(of, seed);
            let w: Vec<f32> = (0..of).map(|j| ((j as u32 * 31 + seed * 17) % 101) as f32 / 50.0 - 1.0).collect();
            let single: Vec<f32> = a.iter().map(|&x| x as f32).collect();
            let mut kept = vec![1; of];
            super::greedy(&single, &w, 4, &mut kept, &mut Vec::new());
            sum += loss(&a, &w, of, &(0..of).filter(|&j| kept[j] == 0).collect::<Vec<_>>());
            GroupRule::subset(vec![a.clone()], 4, of).choose(0, &w, &mut kept, &mut Vec::new());
            best_sum += loss(&a, &w, of, &(0..of).filter(|&j| kept[j] == 0).collect::<Vec<_>>());
        }
        assert!(sum >= best_sum && sum < 1.5 * best_sum, "{sum} against {best_sum}");
    }

    #[test]
    fn counts_subsets() {
        assert_eq!((binomial(4, 2), binomial(8, 4), binomial(16, 8)), (6, 70, 12_870));
        assert!(binomial(32, 16) > 600_000_000);
    }
}
