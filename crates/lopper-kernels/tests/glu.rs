//! The gated activation against f64 and its central differences.
#![allow(clippy::float_cmp, reason = "saturated values are exact")]

mod reference;

use lopper_kernels::{gated_silu, gated_silu_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, slope, to_f64};

fn naive(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

/// `(gate, up, d_out)`: a spread of gates from deep saturation on one side to the other.
fn inputs(n: usize) -> [Vec<f32>; 3] {
    [random(n, 1).iter().map(|x| x * 8.0).collect(), random(n, 2), random(n, 3)]
}

fn forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; gate.len()];
    gated_silu(gate, up, &mut out);
    out
}

fn backward([gate, up, d_out]: &[Vec<f32>; 3]) -> [Vec<f32>; 2] {
    let (mut d_gate, mut d_up) = (vec![f32::NAN; gate.len()], vec![f32::NAN; gate.len()]);
    gated_silu_backward(gate, up, d_out, &mut d_gate, &mut d_up);
    [d_gate, d_up]
}

#[test]
fn forward_agrees_with_f64() {
    for n in [0, 1, 15, 16, 17, 1000, 40_000] {
        let [gate, up, _] = inputs(n);
        let expected: Vec<f64> = to_f64(&gate).iter().zip(to_f64(&up)).map(|(gate, up)| naive(*gate, up)).collect();
        assert_close("gated_silu", &forward(&gate, &up), &expected, 5e-7);
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    let x = inputs(501);
    let [d_gate, d_up] = backward(&x);
    for i in 0..501 {
        let [gate, up, d_out] = [f64::from(x[0][i]), f64::from(x[1][i]), f64::from(x[2][i])];
        let by_gate = slope(&[gate], 0, |gate| naive(gate[0], up) * d_out);
        let by_up = slope(&[up], 0, |up| naive(gate, up[0]) * d_out);
        assert_close("d_gate", &d_gate[i..=i], &[by_gate], 1e-6);
        assert_close("d_up", &d_up[i..=i], &[by_up], 1e-6);
    }
}

#[test]
fn extreme_gates_saturate_and_nan_stays() {
    let out = forward(&[1e4, -1e4, f32::NAN, f32::INFINITY, 0.0], &[2.0; 5]);
    assert_eq!(out[0], 2e4);
    assert!(out[1].abs() < 1e-30 && out[2].is_nan() && out[3] == f32::INFINITY && out[4] == 0.0, "{out:?}");
}

#[test]
fn tiers_and_threads_agree() {
    let x = inputs(50_001);
    let all = || [&[forward(&x[0], &x[1])][..], &backward(&x)].concat().concat();
    assert_tiers_agree("gated_silu", 5e-7, all);
    assert_threads_agree("gated_silu", all);
}

#[test]
#[should_panic(expected = "gated_silu: the slices differ in length")]
fn lengths_that_differ_panic() {
    gated_silu(&[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
}
