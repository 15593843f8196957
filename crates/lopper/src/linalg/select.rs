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
    let (cut, mut equal) = if scores.len() < COUNTED {
        keys.clear();
        keys.extend(scores.iter().map(|&score| key(score)));
        cut_of(keys, pruned)
    } else {
        let (bin, below) = bin_of(scores, pruned);
        let inside = |&score: &f32| Some(key(score)).filter(|key| (key >> 16) as usize == bin);
        let mut keys: Vec<u32> = scores.par_iter().filter_map(inside).collect();
        cut_of(&mut keys, pruned - below)
    };
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

/// The largest key that is pruned, and how many of that value are.
fn cut_of(keys: &mut [u32], pruned: usize) -> (u32, usize) {
    let (below, &mut cut, _) = keys.select_nth_unstable(pruned - 1);
    (cut, 1 + below.iter().filter(|&&key| key == cut).count())
}

/// Groups of at least so many scores are counted by the leading 16 bits of their keys first, on all threads.
const COUNTED: usize = 1 << 16;

/// The leading bits of the largest key that is pruned, and how many scores lie below all keys with these.
fn bin_of(scores: &[f32], pruned: usize) -> (usize, usize) {
    let count = |scores: &[f32]| {
        let mut counts = vec![0u32; 1 << 16];
        for &score in scores {
            counts[(key(score) >> 16) as usize] += 1;
        }
        counts
    };
    let add = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    let counts = scores.par_chunks(4 * COUNTED).map(count).reduce_with(add).unwrap_or_default();
    let mut below = 0;
    for (bin, &count) in counts.iter().enumerate() {
        if below + count as usize >= pruned {
            return (bin, below);
        }
        below += count as usize;
    }
    (counts.len().saturating_sub(1), below)
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
    fn a_large_group_is_the_stable_sort_too() {
        let mut state = 1u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // many ties, both signs, all magnitudes
            let size = ((state >> 8) % 5000) as f32;
            if state & 128 == 0 { size * 1e-3 } else { -size - 1.0 }
        };
        let scores: Vec<f32> = (0..3 * super::COUNTED / 2 + 11).map(|_| draw()).collect();
        for pruned in [1, 2, 1000, scores.len() / 2, scores.len() - 1, scores.len()] {
            assert!(
                keep_largest(&scores, scores.len(), pruned) == by_sorting(&scores, scores.len(), pruned),
                "{pruned}"
            );
        }
    }

    #[test]
    fn keeps_nan() {
        assert_eq!(keep_largest(&[f32::NAN, 1.0, f32::INFINITY], 3, 2), [1, 0, 0]);
    }
}
