//! Root-mean-square normalisation against an f64 reference and its central differences.
#![allow(clippy::float_cmp, reason = "an overwritten gradient is the same to the bit")]

use crate::reference;

use lopper_kernels::{rms_norm, rms_norm_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, random, slope, to_f64};

const EPS: f32 = 1e-5;
/// Rows, their length, and how many weights take turns.
const SHAPES: [(usize, usize, usize); 9] =
    [(1, 1, 1), (1, 300, 1), (2, 15, 1), (3, 16, 1), (5, 129, 1), (40, 33, 1), (70, 576, 1), (54, 17, 3), (10, 129, 2)];

fn naive(x: &[f64], weight: &[f64], n: usize) -> Vec<f64> {
    let normalise = |(row, weight): (&[f64], &[f64])| -> Vec<f64> {
        let inverse = 1.0 / (inner(row, row) / n as f64 + f64::from(EPS)).sqrt();
        row.iter().zip(weight).map(|(x, weight)| x * inverse * weight).collect()
    };
    x.chunks(n).zip(weight.chunks(n).cycle()).flat_map(normalise).collect()
}

fn forward(x: &[f32], weight: &[f32], n: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut inverse) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len() / n]);
    rms_norm(x, weight, EPS, &mut out, &mut inverse);
    (out, inverse)
}

/// `(dx, d_weight)`, both started from `start`.
fn backward([x, weight, d_out]: [&[f32]; 3], n: usize, start: f32, accumulate: bool) -> (Vec<f32>, Vec<f32>) {
    let (mut dx, mut d_weight) = (vec![start; x.len()], vec![start; weight.len()]);
    rms_norm_backward(d_out, x, weight, &forward(x, weight, n).1, Some(&mut dx), accumulate, Some(&mut d_weight));
    (dx, d_weight)
}

#[test]
fn forward_agrees_with_f64() {
    for (rows, n, parts) in SHAPES {
        let (x, weight) = (random(rows * n, 1), random(parts * n, 2));
        let (out, inverse) = forward(&x, &weight, n);
        assert_close("out", &out, &naive(&to_f64(&x), &to_f64(&weight), n), 5e-7);
        for (row, inverse) in to_f64(&x).chunks(n).zip(&inverse) {
            let expected = 1.0 / (inner(row, row) / n as f64 + f64::from(EPS)).sqrt();
            assert_close("inverse_rms", &[*inverse], &[expected], 3e-7);
        }
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    for (rows, n, parts) in SHAPES {
        let (x, weight, d_out) = (random(rows * n, 1), random(parts * n, 2), random(rows * n, 3));
        let (wide_x, wide_weight, wide_d_out) = (to_f64(&x), to_f64(&weight), to_f64(&d_out));
        let (dx, d_weight) = backward([&x, &weight, &d_out], n, 0.0, false);
        for i in (0..x.len()).step_by(x.len() / 40 + 1) {
            let expected = slope(&wide_x, i, |x| inner(&naive(x, &wide_weight, n), &wide_d_out));
            assert_close(&format!("{rows}×{n}, {parts}: dx[{i}]"), &dx[i..=i], &[expected], 2e-6);
        }
        for i in (0..parts * n).step_by(n / 20 + 1) {
            let expected = slope(&wide_weight, i, |weight| inner(&naive(&wide_x, weight, n), &wide_d_out));
            assert_close(&format!("{rows}×{n}, {parts}: d_weight[{i}]"), &d_weight[i..=i], &[expected], 2e-6);
        }
    }
}

#[test]
fn gradients_are_added_where_asked() {
    let (x, weight, d_out) = (random(6 * 20, 1), random(20, 2), random(6 * 20, 3));
    let (dx, d_weight) = backward([&x, &weight, &d_out], 20, 0.0, false);
    let plus_five = |x: &[f32]| x.iter().map(|x| f64::from(*x) + 5.0).collect::<Vec<_>>();
    let (added, added_weight) = backward([&x, &weight, &d_out], 20, 5.0, true);
    assert_close("dx added", &added, &plus_five(&dx), 5e-7);
    assert_close("d_weight is always added", &added_weight, &plus_five(&d_weight), 5e-7);
    assert_eq!(backward([&x, &weight, &d_out], 20, 5.0, false).0, dx, "dx overwritten");
}

#[test]
fn tiers_and_threads_agree() {
    for (rows, n, parts) in SHAPES {
        let (x, weight, d_out) = (random(rows * n, 1), random(parts * n, 2), random(rows * n, 3));
        let all = || {
            let ((out, inverse), (dx, d_weight)) =
                (forward(&x, &weight, n), backward([&x, &weight, &d_out], n, 0.5, true));
            [out, inverse, dx, d_weight].concat()
        };
        assert_tiers_agree("rms_norm", 3e-6, all);
        assert_threads_agree("rms_norm", all);
    }
}

#[test]
#[should_panic(expected = "rms_norm: 5 elements are not whole rows of 2")]
fn rows_that_are_not_whole_panic() {
    rms_norm(&[0.0; 5], &[1.0; 2], EPS, &mut [0.0; 5], &mut [0.0; 2]);
}
