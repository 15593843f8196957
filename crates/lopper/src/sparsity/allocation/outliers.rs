//! OWL: layers with more outliers lose less (Yin et al. 2023, arXiv 2310.05175).
//!
//! With `A_ij = |W_ij|·‖X_j‖₂` the outlier share of a block is `D = #{A_ij > M·Ā} / #A`, Ā the mean over the block. The
//! sparsity of block b is `s_b = s − λ·(D_b − D̄) / max_b |D_b − D̄|`, D̄ the mean weighted by size: linear in D, in
//! [s − λ, s + λ], and `Σ n_b·s_b = s·Σ n_b`, as the paper asks.
//!
//! The reference code stretches D to a range of width 2λ and then moves it to the mean s, so its ends leave the interval
//! where D is skewed; it takes the mean over the whole block, as here. Its spread is at most twice the one here: a larger λ
//! gives it.

use rayon::prelude::*;

use crate::tensor::Tensor;

/// Scores summed by one thread at a time; the order of the sum does not depend on the number of threads.
const SUMMED: usize = 1 << 16;

/// D: the share of scores above `threshold` times the mean, over all matrices of a block.
pub fn outlier_share(scores: &[Tensor], threshold: f64) -> f64 {
    let count: usize = scores.iter().map(Tensor::len).sum();
    let sum: f64 = scores.iter().map(|scores| sum(scores.host())).sum();
    let limit = threshold * sum / count.max(1) as f64;
    let above = |scores: &Tensor| scores.host().par_iter().filter(|&&score| f64::from(score) > limit).count();
    scores.iter().map(above).sum::<usize>() as f64 / count.max(1) as f64
}

fn sum(scores: &[f32]) -> f64 {
    let parts: Vec<f64> = scores.par_chunks(SUMMED).map(|scores| scores.iter().copied().map(f64::from).sum()).collect();
    parts.iter().sum()
}

/// The sparsity of each block from its outlier share and its number of weights; all equal where no share differs.
pub fn block_sparsities(sparsity: f64, lambda: f64, blocks: &[(f64, usize)]) -> Vec<f64> {
    let weights: usize = blocks.iter().map(|(_, weights)| weights).sum();
    let mean = blocks.iter().map(|&(share, weights)| share * weights as f64).sum::<f64>() / weights.max(1) as f64;
    let farthest = blocks.iter().map(|(share, _)| (share - mean).abs()).fold(0.0, f64::max);
    let slope = if farthest > 1e-12 { lambda / farthest } else { 0.0 };
    blocks.iter().map(|(share, _)| sparsity - slope * (share - mean)).collect()
}

#[cfg(test)]
mod tests {
    use super::{block_sparsities, outlier_share};
    use crate::tensor::Tensor;
    use proptest::prelude::*;

    #[test]
    fn outliers_are_counted_against_the_mean_of_the_block() {
        // the mean is 2.5: above 2 · 2.5 are 6 and 8
        let block = [[1.0, 1.0, 1.0, 6.0], [1.0, 1.0, 1.0, 8.0]].map(|scores| Tensor::new([4], scores.to_vec()));
        assert!((outlier_share(&block, 2.0) - 0.25).abs() < 1e-15);
        // each against the mean of its own matrix (2.25 and 2.75) would give the same count only by chance
        assert!((outlier_share(&block, 2.5) - 0.125).abs() < 1e-15);
        assert!(outlier_share(&[Tensor::zeros([3])], 5.0).abs() < 1e-15);
    }

    #[test]
    fn equal_blocks_get_equal_sparsities() {
        assert_eq!(block_sparsities(0.5, 0.08, &[(0.01, 10), (0.01, 10)]), [0.5, 0.5]);
        let skewed = block_sparsities(0.5, 0.1, &[(0.05, 10), (0.01, 10), (0.01, 10), (0.01, 10)]);
        // D̄ = 0.02: the first is 0.03 above it and reaches the end, the others are a third of that below
        for (got, want) in skewed.iter().zip([0.4, 0.5 + 0.1 / 3.0, 0.5 + 0.1 / 3.0, 0.5 + 0.1 / 3.0]) {
            assert!((got - want).abs() < 1e-12, "{got} against {want}");
        }
    }

    proptest! {
        #[test]
        fn sparsities_stay_in_the_band_fall_with_outliers_and_keep_the_mean(
            blocks in prop::collection::vec((0.0..0.2f64, 1usize..1_000_000), 1..80),
            sparsity in 0.1..0.9f64,
            lambda in 0.0..0.1f64,
        ) {
            let sparsities = block_sparsities(sparsity, lambda, &blocks);
            let total: usize = blocks.iter().map(|(_, weights)| weights).sum();
            let mean: f64 = sparsities.iter().zip(&blocks).map(|(s, (_, weights))| s * *weights as f64).sum::<f64>() / total as f64;
            prop_assert!((mean - sparsity).abs() < 1e-9, "{mean} against {sparsity}");
            for (s, (share, _)) in sparsities.iter().zip(&blocks) {
                prop_assert!((s - sparsity).abs() <= lambda + 1e-9);
                for (other, (other_share, _)) in sparsities.iter().zip(&blocks) {
                    prop_assert!(share <= other_share || s <= &(other + 1e-12));
                }
            }
        }
    }
}
