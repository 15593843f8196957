//! `AdamW` against an f64 reference over several steps, masked and not.
#![allow(clippy::float_cmp, reason = "entries that must not move are compared exactly")]

use crate::reference;

use lopper_kernels::{AdamWStep, adamw};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, to_f64};

const STEPS: u32 = 5;

fn step(step: u32) -> AdamWStep {
    AdamWStep { learning_rate: 0.01, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, step }
}

fn gradients(n: usize, t: u32) -> Vec<f32> {
    random(n, 100 + u64::from(t))
}

/// (weight, first, second) after some steps.
fn run(n: usize, mask: Option<&[u8]>) -> [Vec<f32>; 3] {
    let mut state = [random(n, 1), vec![0.0; n], vec![0.0; n]];
    for t in 1..=STEPS {
        let [weight, first, second] = &mut state;
        adamw(&step(t), weight, first, second, &gradients(n, t), mask);
    }
    state
}

fn naive(n: usize) -> [Vec<f64>; 3] {
    let (mut weight, mut first, mut second) = (to_f64(&random(n, 1)), vec![0.0; n], vec![0.0; n]);
    for t in 1..=STEPS {
        let s = step(t);
        let [rate, beta1, beta2, decay] = [s.learning_rate, s.beta1, s.beta2, s.weight_decay].map(f64::from);
        for (i, g) in to_f64(&gradients(n, t)).into_iter().enumerate() {
            first[i] = beta1 * first[i] + (1.0 - beta1) * g;
            second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
            let (m, v): (f64, f64) =
                (first[i] / (1.0 - beta1.powf(t.into())), second[i] / (1.0 - beta2.powf(t.into())));
            weight[i] -= rate * decay * weight[i] + rate * m / (v.sqrt() + f64::from(s.epsilon));
        }
    }
    [weight, first, second]
}

#[test]
fn steps_agree_with_f64() {
    for n in [0, 1, 17, 40_000] {
        for (actual, expected) in run(n, None).iter().zip(naive(n)) {
            assert_close(&format!("{n}"), actual, &expected, 1e-6);
        }
    }
}

#[test]
fn masked_entries_stay_to_the_bit_and_the_others_move_as_without_a_mask() {
    let mask: Vec<u8> = (0..20_003).map(|i| u8::from(i % 3 != 0)).collect();
    let start = [random(mask.len(), 1), vec![0.0; mask.len()], vec![0.0; mask.len()]];
    let (masked, free) = (run(mask.len(), Some(&mask)), run(mask.len(), None));
    for ((masked, free), start) in masked.iter().zip(&free).zip(&start) {
        for (i, kept) in mask.iter().enumerate() {
            let expected = if *kept == 1 { free[i] } else { start[i] };
            assert_eq!(masked[i].to_bits(), expected.to_bits(), "entry {i}");
        }
    }
}

#[test]
fn a_masked_entry_ignores_even_a_gradient_of_nan() {
    let (mut weight, mut first, mut second) = ([0.0, 1.0], [0.5, 0.5], [0.25, 0.25]);
    adamw(&step(3), &mut weight, &mut first, &mut second, &[f32::NAN, 1.0], Some(&[0, 1]));
    assert_eq!((weight[0], first[0], second[0]), (0.0, 0.5, 0.25));
    assert!(weight[1].is_finite() && weight[1] != 1.0);
}

#[test]
fn tiers_and_threads_agree() {
    let mask: Vec<u8> = (0..40_001).map(|i| u8::from(i % 2 == 0)).collect();
    for mask in [None, Some(&mask[..])] {
        assert_tiers_agree("adamw", 1e-6, || run(40_001, mask).concat());
        assert_threads_agree("adamw", || run(40_001, mask).concat());
    }
}

#[test]
#[should_panic(expected = "steps are counted from 1")]
fn step_zero_panics() {
    adamw(&step(0), &mut [0.0], &mut [0.0], &mut [0.0], &[0.0], None);
}
