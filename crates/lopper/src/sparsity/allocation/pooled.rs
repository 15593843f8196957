//! Scores compared over several matrices: each loses those of its weights whose scores are among the smallest of all.
//!
//! Scores are counted by the 16 leading bits of their f32 pattern, in an order that is that of the numbers: a bin is at most
//! 2⁻⁷ of its value wide. So one pass and a few thousand counts per matrix do, whatever the size of the model. All bins below
//! the one that holds the threshold are pruned; in that one, each matrix loses in proportion to what it has there, rounded
//! so that the sum is exact. Sorting all scores would give counts that differ by no more than what lies in that bin.

use rayon::prelude::*;

use super::{Quota, apportion};
use crate::tensor::Tensor;

/// Bins of all f32.
const BINS: usize = 1 << 16;
/// Scores counted by one thread at a time.
const COUNTED: usize = 1 << 20;

/// How many scores of a matrix fall into each bin; bins before the first and after the last that hold any are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    first: usize,
    counts: Vec<u64>,
}

impl Histogram {
    /// Of these scores.
    pub fn new(scores: &Tensor) -> Self {
        let counted = scores.host().par_chunks(COUNTED).map(|scores| {
            let mut counts = vec![0_u64; BINS];
            for &score in scores {
                counts[bin(score)] += 1;
            }
            counts
        });
        let add = |mut a: Vec<u64>, b: Vec<u64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let counts = counted.reduce_with(add).unwrap_or_default();
        let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let end = counts.iter().rposition(|&count| count > 0).map_or(first, |last| last + 1);
        Self { first, counts: counts[first..end].to_vec() }
    }

    fn in_bin(&self, bin: usize) -> usize {
        bin.checked_sub(self.first).and_then(|place| self.counts.get(place)).map_or(0, |&count| count as usize)
    }

    fn below(&self, bin: usize) -> usize {
        let end = bin.saturating_sub(self.first).min(self.counts.len());
        self.counts[..end].iter().sum::<u64>() as usize
    }
}

/// The bin of a score: bins are in the order of the numbers, 0 and −0 are one, NaN is larger than any number.
fn bin(score: f32) -> usize {
    let bits = if score.is_nan() { f32::NAN.to_bits() & !(1 << 31) } else { (score + 0.0).to_bits() };
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    (ordered >> 16) as usize
}

/// How many weights each matrix loses if the `target` smallest of all scores go; `Σ = target`, which is at most the number
/// of scores.
pub fn pooled_counts(histograms: &[&Histogram], target: usize) -> Vec<usize> {
    let (mut below, mut boundary) = (0, BINS);
    for bin in 0..BINS {
        let here: usize = histograms.iter().map(|histogram| histogram.in_bin(bin)).sum();
        if below + here >= target {
            boundary = bin;
            break;
        }
        below += here;
    }
    let (missing, here) = (target - below.min(target), histograms.iter().map(|h| h.in_bin(boundary)).sum::<usize>());
    let share = missing as f64 / here.max(1) as f64;
    let quotas: Vec<Quota> =
        histograms.iter().map(|h| Quota { steps: share * h.in_bin(boundary) as f64, unit: 1 }).collect();
    let inside = apportion(missing, &quotas);
    histograms.iter().zip(inside).map(|(histogram, inside)| histogram.below(boundary) + inside).collect()
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bin, pooled_counts};
    use crate::tensor::Tensor;
    use proptest::prelude::*;

    fn histogram(scores: &[f32]) -> Histogram {
        Histogram::new(&Tensor::new([scores.len()], scores.to_vec()))
    }

    /// The definition: sort all scores, prune the first.
    fn by_sorting(matrices: &[Vec<f32>], target: usize) -> (Vec<usize>, f32) {
        let mut all: Vec<(f32, usize)> = Vec::new();
        for (place, scores) in matrices.iter().enumerate() {
            all.extend(scores.iter().map(|&score| (score, place)));
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut counts = vec![0; matrices.len()];
        all[..target].iter().for_each(|(_, place)| counts[*place] += 1);
        (counts, if target == 0 { f32::MIN } else { all[target - 1].0 })
    }

    #[test]
    fn bins_are_in_the_order_of_the_numbers() {
        let ordered =
            [f32::NEG_INFINITY, -1e30, -1.0, -1e-40, 0.0, 1e-40, 1e-3, 1.0, 1.01, 3e38, f32::INFINITY, f32::NAN];
        assert!(ordered.is_sorted_by(|&a, &b| bin(a) <= bin(b)));
        assert_eq!(bin(-0.0), bin(0.0));
        assert!(bin(1.0) < bin(1.01) && bin(f32::INFINITY) < bin(-f32::NAN));
    }

    #[test]
    fn a_matrix_of_small_scores_loses_more() {
        let [small, large] = [[0.1, 0.2, 0.3, 9.0], [5.0, 6.0, 7.0, 8.0]].map(|scores| histogram(&scores));
        assert_eq!(pooled_counts(&[&small, &large], 4), [3, 1]);
        assert_eq!(pooled_counts(&[&small, &large], 8), [4, 4]);
        assert_eq!(pooled_counts(&[&small, &large], 0), [0, 0]);
    }

    proptest! {
        /// Few enough different scores for ties, and more than one to a bin.
        #[test]
        fn equals_the_sorting_of_all_scores_up_to_the_boundary_bin(
            matrices in prop::collection::vec(prop::collection::vec((0u32..4000).prop_map(|n| n as f32 / 64.0), 1..200), 1..8),
            share in 0.0..=1.0f64,
        ) {
            let total: usize = matrices.iter().map(Vec::len).sum();
            let target = (share * total as f64) as usize;
            let histograms: Vec<Histogram> = matrices.iter().map(|scores| histogram(scores)).collect();
            let counts = pooled_counts(&histograms.iter().collect::<Vec<_>>(), target);
            prop_assert_eq!(counts.iter().sum::<usize>(), target);
            let (sorted, threshold) = by_sorting(&matrices, target);
            for ((counted, sorted), scores) in counts.iter().zip(&sorted).zip(&matrices) {
                let beside = scores.iter().filter(|&&score| bin(score) == bin(threshold)).count();
                let below = scores.iter().filter(|&&score| bin(score) < bin(threshold)).count();
                prop_assert!((below..=below + beside).contains(counted) || target == 0, "{counted}, {below} and {beside}");
                prop_assert!(counted.abs_diff(*sorted) <= beside, "{counted} against {sorted}, {beside} in the bin");
            }
        }
    }
}
