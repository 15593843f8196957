//! The gated activations against f64 and its central differences, and the bits of the gated SiLU.
#![allow(clippy::float_cmp, reason = "saturated values are exact")]

use crate::reference;

use lopper_kernels::dispatch::{Tier, with_tier};
use lopper_kernels::{Activation, gated, gated_backward};
use reference::{activation, assert_close, assert_threads_agree, assert_tiers_agree, random, slope, to_f64};

/// `(gate, up, d_out)`: a spread of gates from deep saturation on one side to the other.
fn inputs(n: usize) -> [Vec<f32>; 3] {
    [random(n, 1).iter().map(|x| x * 8.0).collect(), random(n, 2), random(n, 3)]
}

fn forward(kind: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; gate.len()];
    gated(kind, gate, up, &mut out);
    out
}

fn backward(kind: Activation, [gate, up, d_out]: &[Vec<f32>; 3]) -> [Vec<f32>; 2] {
    let (mut d_gate, mut d_up) = (vec![f32::NAN; gate.len()], vec![f32::NAN; gate.len()]);
    gated_backward(kind, gate, up, d_out, &mut d_gate, &mut d_up);
    [d_gate, d_up]
}

#[test]
fn forward_agrees_with_f64() {
    for kind in Activation::ALL {
        for n in [0, 1, 15, 16, 17, 1000, 40_000] {
            let [gate, up, _] = inputs(n);
            let expected: Vec<f64> =
                to_f64(&gate).iter().zip(to_f64(&up)).map(|(gate, up)| activation(kind, *gate) * up).collect();
            assert_close(&format!("{kind:?}"), &forward(kind, &gate, &up), &expected, 5e-7);
        }
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    let x = inputs(501);
    for kind in Activation::ALL {
        let [d_gate, d_up] = backward(kind, &x);
        for i in 0..501 {
            let [gate, up, d_out] = [f64::from(x[0][i]), f64::from(x[1][i]), f64::from(x[2][i])];
            let by_gate = slope(&[gate], 0, |gate| activation(kind, gate[0]) * up * d_out);
            let by_up = slope(&[up], 0, |up| activation(kind, gate) * up[0] * d_out);
            assert_close(&format!("{kind:?} d_gate"), &d_gate[i..=i], &[by_gate], 1e-6);
            assert_close(&format!("{kind:?} d_up"), &d_up[i..=i], &[by_up], 1e-6);
        }
    }
}

#[test]
fn extreme_gates_saturate_and_nan_stays() {
    let others = [Activation::Sigmoid, Activation::Identity];
    for kind in Activation::ALL.into_iter().filter(|kind| !others.contains(kind)) {
        let out = forward(kind, &[1e4, -1e4, f32::NAN, f32::INFINITY, 0.0], &[2.0; 5]);
        assert_eq!(out[0], if kind == Activation::ReluSquared { 2e8 } else { 2e4 });
        let saturated = out[1].abs() < 1e-30 && out[3] == f32::INFINITY;
        assert!(saturated && out[2].is_nan() && out[4] == 0.0, "{kind:?}: {out:?}");
    }
}

/// The exponential of the kernels, operation by operation.
fn kernel_exp(x: f32, fused: bool) -> f32 {
    let mul_add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = mul_add(x, std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = mul_add(n, 2.121_944_4e-4, mul_add(-n, 0.693_359_4, x));
    let coefficients = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5];
    let p = coefficients[1..].iter().fold(coefficients[0], |p, c| mul_add(p, r, *c));
    let y = mul_add(p, r * r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `[out, d_gate, d_up]` of one gate, with the operations in the order that they had when SiLU was the only activation.
fn silu_replica(gate: f32, up: f32, d_out: f32, fused: bool) -> [f32; 3] {
    let out = gate / (1.0 + kernel_exp(-gate, fused)) * up;
    let sigmoid = 1.0 / (1.0 + kernel_exp(-gate, fused));
    let silu = gate * sigmoid;
    [out, d_out * up * (sigmoid + silu * (1.0 - sigmoid)), d_out * silu]
}

#[test]
fn the_bits_of_the_gated_silu_are_those_of_its_formula() {
    let [mut gate, up, d_out] = inputs(100_001);
    gate.iter_mut().step_by(7).for_each(|gate| *gate *= 9.0);
    gate[..6].copy_from_slice(&[0.0, -0.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY]);
    for tier in Tier::available() {
        let fused = tier > Tier::Portable || cfg!(any(target_feature = "fma", target_arch = "aarch64"));
        let [mut out, mut d_gate, mut d_up] = [0; 3].map(|_| vec![0.0; gate.len()]);
        with_tier(tier, || {
            gated(Activation::Silu, &gate, &up, &mut out);
            gated_backward(Activation::Silu, &gate, &up, &d_out, &mut d_gate, &mut d_up);
        });
        for i in 0..gate.len() {
            let expected = silu_replica(gate[i], up[i], d_out[i], fused);
            let actual = [out[i], d_gate[i], d_up[i]];
            assert_eq!(actual.map(f32::to_bits), expected.map(f32::to_bits), "{tier:?}, gate {}: {actual:?}", gate[i]);
        }
    }
}

#[test]
fn tiers_and_threads_agree() {
    let x = inputs(50_001);
    for kind in Activation::ALL {
        let all = || [&[forward(kind, &x[0], &x[1])][..], &backward(kind, &x)].concat().concat();
        assert_tiers_agree(&format!("{kind:?}"), 5e-7, all);
        assert_threads_agree(&format!("{kind:?}"), all);
    }
}

#[test]
#[should_panic(expected = "gated: the slices differ in length")]
fn lengths_that_differ_panic() {
    gated(Activation::Relu, &[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "gated_backward: the slices differ in length")]
fn gradients_that_differ_in_length_panic() {
    gated_backward(Activation::Silu, &[0.0; 2], &[0.0; 2], &[0.0; 3], &mut [0.0; 2], &mut [0.0; 2]);
}
