//! Losses against f64 references and central differences.

use crate::reference;

use lopper_kernels::{cross_entropy, cross_entropy_backward, squared_error, squared_error_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, slope, to_f64};

fn naive_nll(row: &[f64], target: u32) -> f64 {
    let largest = row.iter().copied().fold(f64::MIN, f64::max);
    row.iter().map(|z| (z - largest).exp()).sum::<f64>().ln() + largest - row[target as usize]
}

fn nll(logits: &[f32], classes: usize, targets: &[u32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; targets.len()];
    cross_entropy(logits, classes, targets, &mut out);
    out
}

fn gradient(logits: &[f32], classes: usize, targets: &[u32], scale: f32) -> Vec<f32> {
    let mut out = logits.to_vec();
    cross_entropy_backward(&mut out, classes, targets, scale);
    out
}

/// (logits, targets): some rows far from zero, some with one dominant class.
fn rows(count: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
    let mut logits = random(count * classes, 1);
    logits
        .chunks_mut(classes)
        .enumerate()
        .for_each(|(r, row)| row.iter_mut().for_each(|z| *z = *z * 4.0 + 200.0 * (r % 3) as f32));
    let targets: Vec<u32> = (0..count).map(|r| (r * 7919 % classes) as u32).collect();
    logits[targets[0] as usize] += 60.0;
    (logits, targets)
}

#[test]
fn squared_error_agrees_with_f64() {
    for n in [0, 1, 15, 17, 511, 513, 100_003] {
        let (y, target) = (random(n, 1), random(n, 2));
        let expected: f64 = to_f64(&y).iter().zip(to_f64(&target)).map(|(y, target)| (y - target).powi(2)).sum();
        assert!((squared_error(&y, &target) - expected).abs() <= 1e-7 * expected, "{n}");
    }
}

#[test]
fn squared_error_gradient_is_scaled_and_added_where_asked() {
    let (y, target) = (random(1000, 1), random(1000, 2));
    let mut dy = vec![f32::NAN; 1000];
    squared_error_backward(&y, &target, 0.25, &mut dy, false);
    // a quarter of (y − t) is the slope of the squared error over 8
    let wide = to_f64(&y);
    for i in (0..1000).step_by(37) {
        let expected = slope(&wide[i..=i], 0, |y| (y[0] - f64::from(target[i])).powi(2) / 8.0);
        assert_close("dy", &dy[i..=i], &[expected], 1e-6);
    }
    let expected: Vec<f64> = to_f64(&dy).iter().map(|x| 2.0 * x).collect();
    squared_error_backward(&y, &target, 0.25, &mut dy, true);
    assert_close("dy added", &dy, &expected, 3e-7);
}

#[test]
fn cross_entropy_agrees_with_f64() {
    for (count, classes) in [(1, 1), (3, 2), (5, 17), (4, 513), (6, 49_152)] {
        let (logits, targets) = rows(count, classes);
        let expected: Vec<f64> =
            to_f64(&logits).chunks(classes).zip(&targets).map(|(row, target)| naive_nll(row, *target)).collect();
        assert_close(&format!("{count}×{classes}"), &nll(&logits, classes, &targets), &expected, 3e-7);
    }
}

#[test]
fn cross_entropy_gradient_agrees_with_differences_of_f64() {
    for (count, classes) in [(1, 1), (3, 2), (5, 17), (4, 513)] {
        let (logits, targets) = rows(count, classes);
        let actual = gradient(&logits, classes, &targets, 3.0);
        for ((row, target), actual) in to_f64(&logits).chunks(classes).zip(&targets).zip(actual.chunks(classes)) {
            let expected: Vec<f64> = (0..classes).map(|i| slope(row, i, |row| 3.0 * naive_nll(row, *target))).collect();
            assert_close(&format!("{count}×{classes}"), actual, &expected, 1e-6);
        }
    }
}

#[test]
fn tiers_and_threads_agree() {
    let (logits, targets) = rows(7, 1000);
    let (y, target) = (random(60_001, 3), random(60_001, 4));
    let all = || {
        let error = squared_error(&y, &target);
        let mut dy = y.clone();
        squared_error_backward(&y, &target, 0.5, &mut dy, true);
        let bits = [error as f32, (error - f64::from(error as f32)) as f32];
        [nll(&logits, 1000, &targets), gradient(&logits, 1000, &targets, 2.0), dy, bits.to_vec()].concat()
    };
    assert_threads_agree("losses", all);
    assert_tiers_agree("losses", 1e-6, || all()[..all().len() - 1].to_vec());
}

#[test]
#[should_panic(expected = "a target is not below 3")]
fn a_target_out_of_range_panics() {
    nll(&[0.0; 3], 3, &[3]);
}
