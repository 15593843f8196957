//! The clamped gate against f64 and its central differences.
#![allow(clippy::float_cmp, reason = "what is at a bound is exact")]

use crate::reference;

use lopper_kernels::{ClampedGate, clamped_gate, clamped_gate_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, slope, to_f64};

/// That of the published models, one whose bounds bite often, and one that hardly bends.
const GATES: [ClampedGate; 3] = [
    ClampedGate { alpha: 1.702, limit: 7.0 },
    ClampedGate { alpha: 1.0, limit: 0.5 },
    ClampedGate { alpha: 0.01, limit: 100.0 },
];

fn naive(ClampedGate { alpha, limit }: ClampedGate, [gate, up]: [f64; 2]) -> f64 {
    let (alpha, limit) = (f64::from(alpha), f64::from(limit));
    let gate = gate.min(limit);
    gate / (1.0 + (-alpha * gate).exp()) * (up.clamp(-limit, limit) + 1.0)
}

/// `(pairs, d_out)`: gates and what they gate from one side of the bounds to the other.
fn inputs(n: usize) -> [Vec<f32>; 2] {
    [random(2 * n, 1).iter().map(|x| x * 5.0).collect(), random(n, 2)]
}

fn forward(gate: ClampedGate, pairs: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; pairs.len() / 2];
    clamped_gate(gate, pairs, &mut out);
    out
}

fn backward(gate: ClampedGate, pairs: &[f32], d_out: &[f32]) -> Vec<f32> {
    let mut d_pairs = vec![f32::NAN; pairs.len()];
    clamped_gate_backward(gate, pairs, d_out, &mut d_pairs);
    d_pairs
}

#[test]
fn forward_agrees_with_f64() {
    for gate in GATES {
        for n in [0, 1, 7, 8, 9, 15, 16, 17, 1000, 40_000] {
            let [pairs, _] = inputs(n);
            let expected: Vec<f64> = to_f64(&pairs).chunks(2).map(|pair| naive(gate, [pair[0], pair[1]])).collect();
            assert_close(&format!("{gate:?}"), &forward(gate, &pairs), &expected, 1e-6);
        }
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    let [pairs, d_out] = inputs(501);
    for gate in GATES {
        let d_pairs = backward(gate, &pairs, &d_out);
        let (mut within, mut beyond) = (0, 0);
        for (place, pair) in to_f64(&pairs).chunks(2).enumerate() {
            for which in 0..2 {
                let expected = slope(pair, which, |moved| naive(gate, [moved[0], moved[1]]) * f64::from(d_out[place]));
                let at = 2 * place + which;
                assert_close(&format!("{gate:?} {which} at {place}"), &d_pairs[at..=at], &[expected], 2e-6);
                if d_pairs[at] == 0.0 { beyond += 1 } else { within += 1 }
            }
        }
        assert!(within > 100 && (gate.limit > 50.0 || beyond > 20), "{gate:?}: {within} within, {beyond} beyond");
    }
}

#[test]
fn bounds_are_within_and_nan_stays() {
    let gate = ClampedGate { alpha: 1.702, limit: 7.0 };
    let at_bounds = [7.0, 7.0, 7.0, -7.0];
    let d_pairs = backward(gate, &at_bounds, &[1.0; 2]);
    assert!(d_pairs.iter().all(|d| *d != 0.0), "{d_pairs:?}");
    // -7 + 1 times what the gate lets through, which is the gate itself
    let out = forward(gate, &[9.0, 9.0, f32::INFINITY, -1e30, f32::NAN, 0.0, 0.0, f32::NAN]);
    assert_close("beyond", &out[..2], &[56.0, -42.0], 1e-5);
    assert!(out[2].is_nan() && out[3].is_nan(), "{out:?}");
    assert_eq!(backward(gate, &[9.0, 9.0, 1e30, -1e30], &[1.0; 2]), [0.0; 4]);
}

#[test]
fn tiers_and_threads_agree() {
    let [pairs, d_out] = inputs(50_001);
    for gate in GATES {
        let all = || [forward(gate, &pairs), backward(gate, &pairs, &d_out)].concat();
        assert_tiers_agree(&format!("{gate:?}"), 1e-6, all);
        assert_threads_agree(&format!("{gate:?}"), all);
    }
}

#[test]
#[should_panic(expected = "clamped_gate: pairs are not twice as long as out")]
fn lengths_that_differ_panic() {
    clamped_gate(GATES[0], &[0.0; 3], &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "clamped_gate_backward: pairs are not twice as long as d_out")]
fn gradients_that_differ_in_length_panic() {
    clamped_gate_backward(GATES[0], &[0.0; 4], &[0.0; 2], &mut [0.0; 2]);
}
