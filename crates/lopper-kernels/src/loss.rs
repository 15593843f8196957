//! Squared error and cross-entropy, with their gradients.
//!
//! Squared error: Σ (y − t)². Cross-entropy of row z with target c: `−log softmax(z)[c] = log Σ exp(z − m) + m − z[c]` with m = max z,
//! and its gradient softmax(z) − onehot(c).

use crate::dispatch::{Tier, simd, tier};
use crate::elementwise::CHUNK;
use crate::math::{exp, larger, largest, mul_add, sum};
use rayon::prelude::*;

/// Elements summed in f32 before the sum goes on in f64.
const RUN: usize = 512;

simd! {
    fn squared_difference(y: &[f32], target: &[f32]) -> f64 {
        let mut total = 0.0;
        for (y, target) in y.chunks(RUN).zip(target.chunks(RUN)) {
            let mut sums = [0f32; 16];
            let (y, target) = (y.chunks_exact(16), target.chunks_exact(16));
            for ((lane, y), target) in sums.iter_mut().zip(y.remainder()).zip(target.remainder()) {
                *lane = (y - target) * (y - target);
            }
            for (y, target) in y.zip(target) {
                for i in 0..16 {
                    sums[i] = mul_add::<FUSED>(y[i] - target[i], y[i] - target[i], sums[i]);
                }
            }
            total += f64::from(sum(sums));
        }
        total
    }
    fn scaled_difference(y: &[f32], target: &[f32], scale: f32, dy: &mut [f32], accumulate: bool) {
        if accumulate {
            for ((dy, y), target) in dy.iter_mut().zip(y).zip(target) {
                *dy += scale * (y - target);
            }
        } else {
            for ((dy, y), target) in dy.iter_mut().zip(y).zip(target) {
                *dy = scale * (y - target);
            }
        }
    }
    fn row_maximum(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let chunks = row.chunks_exact(16);
        for x in chunks.remainder() {
            lanes[0] = larger(*x, lanes[0]);
        }
        for chunk in chunks {
            for (largest, x) in lanes.iter_mut().zip(chunk) {
                *largest = larger(*x, *largest);
            }
        }
        largest(lanes)
    }
    fn sum_of_exponentials(row: &[f32], shift: f32) -> f64 {
        let mut total = 0.0;
        for run in row.chunks(RUN) {
            let mut sums = [0f32; 16];
            let chunks = run.chunks_exact(16);
            for x in chunks.remainder() {
                sums[0] += exp::<FUSED>(x - shift);
            }
            for chunk in chunks {
                for (lane, x) in sums.iter_mut().zip(chunk) {
                    *lane += exp::<FUSED>(x - shift);
                }
            }
            total += f64::from(sum(sums));
        }
        total
    }
    fn scaled_exponentials(row: &mut [f32], shift: f32, scale: f32) {
        for x in row {
            *x = exp::<FUSED>(*x - shift) * scale;
        }
    }
}

/// Σ (yᵢ − targetᵢ)², carried in f64.
///
/// # Panics
///
/// If the lengths differ.
pub fn squared_error(y: &[f32], target: &[f32]) -> f64 {
    assert_eq!(y.len(), target.len(), "squared_error: the slices differ in length");
    let tier = tier();
    let chunks =
        y.par_chunks(CHUNK).zip(target.par_chunks(CHUNK)).map(|(y, target)| squared_difference(tier, y, target));
    // collected first: rayon's own sum adds in an order that depends on the threads
    chunks.collect::<Vec<f64>>().into_iter().sum()
}

/// `dy = scale · (y − target)`, or `dy +=` that if `accumulate`: the gradient of [`squared_error`] for `scale` = 2.
///
/// # Panics
///
/// If the lengths differ.
pub fn squared_error_backward(y: &[f32], target: &[f32], scale: f32, dy: &mut [f32], accumulate: bool) {
    assert!(y.len() == dy.len() && target.len() == dy.len(), "squared_error_backward: the slices differ in length");
    let tier = tier();
    let inputs = y.par_chunks(CHUNK).zip(target.par_chunks(CHUNK));
    dy.par_chunks_mut(CHUNK)
        .zip(inputs)
        .for_each(|(dy, (y, target))| scaled_difference(tier, y, target, scale, dy, accumulate));
}

/// `nll[r] = −log softmax(logits[r, :])[targets[r]]` for `logits` of `[rows, classes]`, in nats.
///
/// # Panics
///
/// If the lengths contradict each other or a target is not below `classes`.
pub fn cross_entropy(logits: &[f32], classes: usize, targets: &[u32], nll: &mut [f32]) {
    check_classes("cross_entropy", logits.len(), classes, targets);
    assert_eq!(nll.len(), targets.len(), "cross_entropy: nll needs one entry per row");
    let tier = tier();
    nll.par_iter_mut().zip(logits.par_chunks(classes.max(1))).zip(targets).for_each(|((nll, row), target)| {
        let (maximum, log_sum) = shifted_log_sum(tier, row);
        *nll = (log_sum + f64::from(maximum) - f64::from(row[*target as usize])) as f32;
    });
}

/// Replaces `logits` `[rows, classes]` by the gradient `scale · (softmax − onehot)`.
///
/// # Panics
///
/// If the lengths contradict each other or a target is not below `classes`.
pub fn cross_entropy_backward(logits: &mut [f32], classes: usize, targets: &[u32], scale: f32) {
    check_classes("cross_entropy_backward", logits.len(), classes, targets);
    let tier = tier();
    logits.par_chunks_mut(classes.max(1)).zip(targets).for_each(|(row, target)| {
        let (maximum, log_sum) = shifted_log_sum(tier, row);
        scaled_exponentials(tier, row, maximum, (f64::from(scale) * (-log_sum).exp()) as f32);
        row[*target as usize] -= scale;
    });
}

/// (m, log Σ exp(z − m)) with m = max z.
fn shifted_log_sum(tier: Tier, row: &[f32]) -> (f32, f64) {
    let maximum = row_maximum(tier, row);
    (maximum, sum_of_exponentials(tier, row, maximum).ln())
}

fn check_classes(kernel: &str, length: usize, classes: usize, targets: &[u32]) {
    assert_eq!(length, classes * targets.len(), "{kernel}: logits are not [targets.len(), classes]");
    assert!(targets.iter().all(|target| (*target as usize) < classes), "{kernel}: a target is not below {classes}");
}
