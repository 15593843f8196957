//! The activations against f64 and its central differences.
#![allow(clippy::float_cmp, reason = "saturated values are exact")]

use crate::reference;

use lopper_kernels::dispatch::{Tier, with_tier};
use lopper_kernels::{Activation, activate, activate_backward};
use reference::{activation, assert_threads_agree, assert_tiers_agree, normal_distribution, random, slope};

/// Everything from one tail to the other in small steps, and powers of two.
fn sweep() -> Vec<f32> {
    let line = (-280_000..=280_000).map(|i| i as f32 / 20_000.0);
    line.chain((-30..30).flat_map(|e| [1.0, 1.3, -1.0, -1.7].map(|x| x * 2f32.powi(e)))).collect()
}

fn forward(kind: Activation, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len()];
    activate(kind, x, &mut out);
    out
}

fn backward(kind: Activation, x: &[f32], d_out: &[f32]) -> Vec<f32> {
    let mut dx = vec![f32::NAN; x.len()];
    activate_backward(kind, x, d_out, &mut dx);
    dx
}

/// The largest |actual − expected| / max(1, scale).
fn largest_error(scale: impl Fn(f64) -> f64, x: &[f32], actual: &[f32], expected: impl Fn(f64) -> f64) -> f64 {
    let error = |x: f64, y: f64| (y - expected(x)).abs() / scale(x).max(1.0);
    x.iter().zip(actual).map(|(x, y)| error(f64::from(*x), f64::from(*y))).fold(0.0, f64::max)
}

/// The slope by a central difference, but for the step of ReLU.
fn naive_slope(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Relu => f64::from(x > 0.0),
        Activation::ReluSquared => 2.0 * x.max(0.0),
        Activation::Identity => 1.0,
        _ => slope(&[x], 0, |x| activation(kind, x[0])),
    }
}

#[test]
fn the_normal_distribution_of_the_reference_is_right() {
    // from tables with 15 digits, and both formulas where they meet
    for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746_068_543), (-3.0, 1.349_898_031_630_09e-3)] {
        assert!((normal_distribution(x) / expected - 1.0).abs() < 1e-14, "{x}");
    }
    let (below, above) = (normal_distribution(2f64.next_down()), normal_distribution(2.0));
    assert!((below - above).abs() < 1e-15);
}

#[test]
fn values_agree_with_f64() {
    let x = sweep();
    for (kind, tolerance) in Activation::ALL.into_iter().zip([1.2e-7, 1.2e-7, 1.2e-7, 0.0, 6e-8, 2e-7, 0.0]) {
        for tier in Tier::available() {
            let y = with_tier(tier, || forward(kind, &x));
            let scale = |x: f64| if kind == Activation::ReluSquared { x * x } else { x.abs() };
            let error = largest_error(scale, &x, &y, |x| activation(kind, x));
            println!("{kind:?} on {tier:?}: values off by {error:.3e}");
            assert!(error <= tolerance, "{kind:?} on {tier:?}: values off by {error:e}");
        }
    }
}

#[test]
fn slopes_agree_with_differences_of_f64() {
    let x: Vec<f32> = sweep().into_iter().step_by(3).filter(|x| x.abs() < 100.0).collect();
    // SiLU takes 1 − σ by subtraction, which costs |x|·2⁻²⁴
    for (kind, tolerance) in Activation::ALL.into_iter().zip([9e-7, 2e-7, 2e-7, 0.0, 0.0, 1e-7, 0.0]) {
        for tier in Tier::available() {
            let dx = with_tier(tier, || backward(kind, &x, &vec![1.0; x.len()]));
            let error = largest_error(|_| 1.0, &x, &dx, |x| naive_slope(kind, x));
            println!("{kind:?} on {tier:?}: slopes off by {error:.3e}");
            assert!(error <= tolerance, "{kind:?} on {tier:?}: slopes off by {error:e}");
        }
    }
}

#[test]
fn the_tail_of_the_gelu_is_right_relative_to_itself() {
    // the argument of the exponential, x²/2, is rounded to 24 bits, which the exponential multiplies by x²/2
    let x: Vec<f32> = (0..120_000).map(|i| -(i as f32) / 10_000.0).collect();
    for tier in Tier::available() {
        let y = with_tier(tier, || forward(Activation::Gelu, &x));
        for (x, y) in x.iter().zip(y).skip(1) {
            let expected = activation(Activation::Gelu, f64::from(*x));
            let (error, bound) = ((f64::from(y) / expected - 1.0).abs(), 5e-7 + 8e-8 * f64::from(x * x / 2.0));
            assert!(error <= bound, "{tier:?}: gelu({x}) = {y}, not {expected}: off by {error:e} of it");
        }
    }
}

#[test]
fn extremes_saturate_and_nan_stays() {
    let others = [Activation::ReluSquared, Activation::Sigmoid, Activation::Identity];
    let saturates = |kind: &Activation| !others.contains(kind);
    for kind in Activation::ALL.into_iter().filter(saturates) {
        let x = [0.0, 1e4, -1e4, f32::INFINITY, f32::MAX, f32::NAN];
        let (y, dx) = (forward(kind, &x), backward(kind, &x, &[3.0; 6]));
        let all = format!("{kind:?}: {y:?}, slopes {dx:?}");
        assert!(y[0] == 0.0 && y[1] == 1e4 && y[2].abs() < 1e-30 && y[3] == f32::INFINITY && y[4] == f32::MAX, "{all}");
        assert!(dx[1] == 3.0 && dx[2].abs() < 1e-30 && dx[4] == 3.0 && y[5].is_nan(), "{all}");
        assert!(dx[0] == if kind == Activation::Relu { 0.0 } else { 1.5 }, "{all}");
        assert!(kind == Activation::Relu || dx[5].is_nan(), "{all}");
    }
}

#[test]
fn the_identity_changes_nothing() {
    let x = [0.0, -1e4, f32::INFINITY, f32::MAX];
    assert_eq!(forward(Activation::Identity, &x), x);
    assert_eq!(backward(Activation::Identity, &x, &[3.0; 4]), [3.0; 4]);
    assert!(forward(Activation::Identity, &[f32::NAN])[0].is_nan());
}

#[test]
fn the_sigmoid_saturates_and_nan_stays() {
    let x = [0.0, 1e4, -1e4, f32::INFINITY, -f32::INFINITY, f32::NAN];
    let (y, dx) = (forward(Activation::Sigmoid, &x), backward(Activation::Sigmoid, &x, &[3.0; 6]));
    assert!(y[0] == 0.5 && y[1] == 1.0 && y[3] == 1.0 && dx[0] == 0.75, "{y:?}, slopes {dx:?}");
    assert!([y[2], y[4], dx[1], dx[2], dx[3], dx[4]].iter().all(|y| y.abs() < 1e-30), "{y:?}, slopes {dx:?}");
    assert!(y[5].is_nan() && dx[5].is_nan(), "{y:?}, slopes {dx:?}");
}

#[test]
fn the_square_saturates_and_nan_stays() {
    let x = [0.0, 1e4, -1e4, f32::INFINITY, f32::NAN, -f32::INFINITY];
    let (y, dx) = (forward(Activation::ReluSquared, &x), backward(Activation::ReluSquared, &x, &[0.5; 6]));
    assert!(y[..4] == [0.0, 1e8, 0.0, f32::INFINITY] && y[4].is_nan() && y[5] == 0.0, "{y:?}");
    assert!(dx[..4] == [0.0, 1e4, 0.0, f32::INFINITY] && dx[4].is_nan() && dx[5] == 0.0, "{dx:?}");
}

#[test]
fn gradients_are_scaled_by_what_comes_in() {
    for n in [0, 1, 15, 16, 17, 1000, 40_000] {
        let (x, d_out) = (random(n, 1), random(n, 2));
        for kind in Activation::ALL {
            let slopes = backward(kind, &x, &vec![1.0; n]);
            let expected: Vec<f32> = d_out.iter().zip(&slopes).map(|(d, slope)| d * slope).collect();
            assert_eq!(backward(kind, &x, &d_out), expected, "{kind:?} of {n}");
        }
    }
}

#[test]
fn tiers_and_threads_agree() {
    let (x, d_out): (Vec<f32>, _) = (random(50_001, 1).iter().map(|x| x * 5.0).collect(), random(50_001, 2));
    for kind in Activation::ALL {
        let all = || [forward(kind, &x), backward(kind, &x, &d_out)].concat();
        assert_tiers_agree(&format!("{kind:?}"), 5e-7, all);
        assert_threads_agree(&format!("{kind:?}"), all);
    }
}

#[test]
#[should_panic(expected = "activate: the slices differ in length")]
fn lengths_that_differ_panic() {
    activate(Activation::Gelu, &[0.0; 2], &mut [0.0; 3]);
}

#[test]
#[should_panic(expected = "activate_backward: the slices differ in length")]
fn gradients_that_differ_in_length_panic() {
    activate_backward(Activation::Relu, &[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
}
