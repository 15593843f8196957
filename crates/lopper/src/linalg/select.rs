//! Exact selection: prune the k smallest of each group, ties at the lower index.

use rayon::prelude::*;

/// Marks what is kept: of each `length` consecutive scores the `pruned` smallest get 0, the others 1.
/// Ties go to the lower index (the earlier one is pruned); NaN counts as larger than any number.
/// A last group shorter than `length` prunes `pruned` of what it has.
pub fn keep_largest(scores: &[f32], length: usize, pruned: usize) -> Vec<u8> {
    let mut kept = vec![1; scores.len()];
    if pruned > 0 {
        kept.par_chunks_mut(length)
            .zip(scores.par_chunks(length))
            .for_each_init(Vec::new, |keys, (kept, scores)| prune_smallest(scores, pruned, kept, keys));
    }
    kept
}

/// One group. The score at the cut is found among copies; then all below it are pruned, and of those equal to it as many as are
/// missing, the first ones.
fn prune_smallest(scores: &[f32], pruned: usize, kept: &mut [u8], keys: &mut Vec<u32>) {
    if pruned >= scores.len() {
        kept.fill(0);
        return;
    }
    keys.clear();
    keys.extend(scores.iter().map(|&score| key(score)));
    let (below, &mut cut, _) = keys.select_nth_unstable(pruned - 1);
    let mut equal = 1 + below.iter().filter(|&&key| key == cut).count();
    for (kept, &score) in kept.iter_mut().zip(scores) {
        let key = key(score);
        if key < cut {
            *kept = 0;
        } else if key == cut && equal > 0 {
            *kept = 0;
            equal -= 1;
        }
    }
}

/// Integers in the order of the numbers; −0 equals 0, and NaN comes last.
fn key(score: f32) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::keep_largest;
    use proptest::prelude::*;

    /// The definition: sort by (score, index), prune the first.
    fn by_sorting(scores: &[f32], length: usize, pruned: usize) -> Vec<u8> {
        let mut kept = vec![1; scores.len()];
        for start in (0..scores.len()).step_by(length) {
            let mut order: Vec<usize> = (start..(start + length).min(scores.len())).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            order.iter().take(pruned).for_each(|&i| kept[i] = 0);
        }
        kept
    }

    proptest! {
        #[test]
        fn is_the_stable_sort(scores in prop::collection::vec((0u8..6).prop_map(f32::from), 1..200), length in 1usize..50, share in 0.0..1.0f64) {
            let pruned = (share * length as f64) as usize;
            prop_assert_eq!(keep_largest(&scores, length, pruned), by_sorting(&scores, length, pruned));
        }
    }

    #[test]
    fn keeps_nan() {
        assert_eq!(keep_largest(&[f32::NAN, 1.0, f32::INFINITY], 3, 2), [1, 0, 0]);
    }
}
