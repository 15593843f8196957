//! Exact selection: prune the k smallest of each group, ties at the lower index.

use std::cmp::Ordering;

use rayon::prelude::*;

/// Marks what is kept: of each `length` consecutive scores the `pruned` smallest get 0, the others 1.
/// Ties go to the lower index (the earlier one is pruned); NaN counts as larger than any number.
/// A last group shorter than `length` prunes `pruned` of what it has.
pub fn keep_largest(scores: &[f32], length: usize, pruned: usize) -> Vec<u8> {
    let mut kept = vec![1; scores.len()];
    if pruned > 0 {
        kept.par_chunks_mut(length).zip(scores.par_chunks(length)).for_each_init(
            Vec::new,
            |order: &mut Vec<u32>, (kept, scores)| {
                order.clear();
                order.extend(0..scores.len() as u32);
                let smaller = |&a: &u32, &b: &u32| compare(scores[a as usize], scores[b as usize]).then(a.cmp(&b));
                if pruned < order.len() {
                    order.select_nth_unstable_by(pruned, smaller);
                }
                for &index in order.iter().take(pruned) {
                    kept[index as usize] = 0;
                }
            },
        );
    }
    kept
}

/// By value (−0 equals 0), NaN last.
fn compare(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
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
