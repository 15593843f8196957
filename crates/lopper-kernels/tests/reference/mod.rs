//! What the tests of all kernels share: seeded numbers, comparisons, tiers and thread pools.

use lopper_kernels::Activation;
use lopper_kernels::dispatch::{Tier, with_tier};

/// Normal-looking numbers in about ±3, from a seed.
pub fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / f64::from(1u32 << 24) - 0.5
    };
    (0..length).map(|_| ((uniform() + uniform() + uniform()) * 2.0) as f32).collect()
}

/// Asserts |actual − expected| ≤ tolerance · max(1, |expected|) everywhere.
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*a) - e).abs();
        assert!(error <= tolerance * e.abs().max(1.0), "{what}[{i}]: {a} instead of {e}, off by {error:e}");
    }
}

pub fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Runs `call` once per tier of this CPU and asserts that the results agree within `tolerance` (see [`assert_close`]).
#[track_caller]
pub fn assert_tiers_agree(what: &str, tolerance: f64, call: impl Fn() -> Vec<f32>) {
    let portable = to_f64(&with_tier(Tier::Portable, &call));
    for tier in Tier::available() {
        assert_close(&format!("{what} on {tier:?}"), &with_tier(tier, &call), &portable, tolerance);
    }
}

/// Runs `call` in pools of 1, 2 and 3 threads and asserts the same bits.
#[track_caller]
pub fn assert_threads_agree(what: &str, call: impl Fn() -> Vec<f32> + Sync) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a few threads can be had");
        pool.install(&call).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(one == run(threads), "{what}: {threads} threads give other bits than one");
    }
}

/// Central difference of `loss` along entry `i` of `x`.
pub fn slope(x: &[f64], i: usize, loss: impl Fn(&[f64]) -> f64) -> f64 {
    let step = 1e-5;
    let mut moved = x.to_vec();
    moved[i] = x[i] + step;
    let above = loss(&moved);
    moved[i] = x[i] - step;
    (above - loss(&moved)) / (2.0 * step)
}

/// Where sequences of these lengths start, and the number of all tokens.
pub fn offsets(lengths: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    offsets
}

/// Σ aᵢ·bᵢ.
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The activations, as their formulas are written.
pub fn activation(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => x * normal_distribution(x),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::ReluSquared => x.max(0.0).powi(2),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Identity => x,
    }
}

/// Φ(x): ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …) near 0, and φ(x)/(x + 1/(x + 2/(x + 3/(x + …)))) from 1 or to 0 elsewhere.
pub fn normal_distribution(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if x.abs() < 2.0 {
        let terms = (1..60).scan(x, |term, k| Some(std::mem::replace(term, *term * x * x / f64::from(2 * k + 1))));
        return 0.5 + density * terms.sum::<f64>();
    }
    let tail = density / (1..200).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / below);
    if x > 0.0 { 1.0 - tail } else { tail }
}
