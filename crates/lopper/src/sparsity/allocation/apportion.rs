//! Counts that add up, by the largest remainder (Hamilton's method).
//!
//! Matrix i should lose q_i weights, which is rarely a whole number. Each loses ⌊q_i⌋, and what is then missing of the
//! target goes, one step each, to those with the largest q_i − ⌊q_i⌋, ties to the first. A step is one weight, or one weight
//! of every row where all rows of a matrix lose the same: then the sum comes as near to the target as such steps allow
//! without exceeding it.

/// What one of those who share a target should give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// q, in steps; not negative.
    pub steps: f64,
    /// Weights per step.
    pub unit: usize,
}

/// Steps of each quota, as whole numbers: each rounded down or up, and `Σ steps·unit = target` where every unit is 1. With
/// larger units the sum is below the target by less than the largest unit. The quotas sum to the target, or to less than one
/// weight more.
pub fn apportion(target: usize, quotas: &[Quota]) -> Vec<usize> {
    let mut steps: Vec<usize> = quotas.iter().map(|quota| quota.steps.floor() as usize).collect();
    let given: usize = quotas.iter().zip(&steps).map(|(quota, steps)| quota.unit * steps).sum();
    let mut missing = target.saturating_sub(given);
    let mut order: Vec<usize> = (0..quotas.len()).collect();
    let remainder = |index: usize| quotas[index].steps.fract();
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
    for index in order {
        let unit = quotas[index].unit;
        if missing >= unit {
            steps[index] += 1;
            missing -= unit;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::{Quota, apportion};
    use crate::sparsity::Pattern;
    use proptest::prelude::*;

    fn quotas(steps: &[f64], unit: usize) -> Vec<Quota> {
        steps.iter().map(|&steps| Quota { steps, unit }).collect()
    }

    #[test]
    fn the_largest_remainder_gets_what_is_missing_and_ties_go_to_the_first() {
        assert_eq!(apportion(10, &quotas(&[2.2, 3.7, 4.1], 1)), [2, 4, 4]);
        assert_eq!(apportion(4, &quotas(&[1.5, 1.5, 1.0], 1)), [2, 1, 1]);
        assert_eq!(apportion(0, &[]), [0; 0]);
    }

    #[test]
    fn a_step_that_would_exceed_the_target_is_not_taken() {
        // 0.6 of 7 inputs is 4.2 a row: of 5 · 4.2 + 2 · 4.2 = 29.4 weights, 28 in whole steps, and no step of 5 or 2 fits in 1
        let rows = [Quota { steps: 4.2, unit: 5 }, Quota { steps: 4.2, unit: 2 }];
        assert_eq!(apportion(29, &rows), [4, 4]);
        // a smaller one after it may
        assert_eq!(apportion(30, &rows), [4, 5]);
    }

    proptest! {
        #[test]
        fn counts_add_up_exactly(sizes in prop::collection::vec(1usize..5_000_000, 1..300), sparsity in 0.0..1.0f64) {
            let target = Pattern::pruned_of(sparsity, sizes.iter().sum());
            let quotas: Vec<Quota> = sizes.iter().map(|&size| Quota { steps: sparsity * size as f64, unit: 1 }).collect();
            let counts = apportion(target, &quotas);
            prop_assert_eq!(counts.iter().sum::<usize>(), target);
            for (count, quota) in counts.iter().zip(&quotas) {
                prop_assert!((*count as f64 - quota.steps).abs() <= 1.0, "{count} for {}", quota.steps);
            }
        }

        #[test]
        fn rows_come_within_one_step_below(shapes in prop::collection::vec((1usize..2000, 1usize..5000), 1..100), sparsity in 0.0..1.0f64) {
            let target = Pattern::pruned_of(sparsity, shapes.iter().map(|(rows, columns)| rows * columns).sum());
            let quotas: Vec<Quota> = shapes.iter().map(|&(rows, columns)| Quota { steps: sparsity * columns as f64, unit: rows }).collect();
            let steps = apportion(target, &quotas);
            let total: usize = steps.iter().zip(&shapes).map(|(steps, (rows, _))| steps * rows).sum();
            let largest = shapes.iter().map(|(rows, _)| *rows).max().expect("one at least");
            prop_assert!(total <= target && target - total < largest, "{total} of {target}");
            prop_assert!(steps.iter().zip(&shapes).all(|(steps, (_, columns))| steps <= columns));
        }
    }
}
