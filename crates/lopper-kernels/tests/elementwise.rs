//! Elementwise kernels, column reductions and 16-bit conversions against plain loops.
#![allow(clippy::float_cmp, reason = "results that must be exact are compared exactly")]

use crate::reference;

use lopper_kernels::{
    add_assign, add_bias, apply_mask, bf16_to_f32, column_products, column_squares, column_sums, f16_to_f32,
    f32_to_bf16, f32_to_f16, multiply_assign, soft_cap, soft_cap_backward,
};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, slope, to_f64};

#[test]
fn sums_products_and_masks_are_exact() {
    for n in [0, 1, 15, 16, 17, 33_000] {
        let (a, b) = (random(n, 1), random(n, 2));
        let mask: Vec<u8> = (0..n).map(|i| u8::from(i % 3 == 1)).collect();
        let (mut sum, mut product, mut masked) = (a.clone(), a.clone(), a.clone());
        add_assign(&mut sum, &b);
        multiply_assign(&mut product, &b);
        apply_mask(&mut masked, &mask);
        for i in 0..n {
            assert_eq!((sum[i], product[i]), (a[i] + b[i], a[i] * b[i]));
            assert_eq!(masked[i].to_bits(), if mask[i] == 1 { a[i].to_bits() } else { 0 });
        }
    }
}

#[test]
fn bias_and_column_reductions_agree_with_loops() {
    for (rows, n) in [(0, 5), (1, 1), (3, 127), (2, 128), (300, 129), (65, 576)] {
        let (x, start) = (random(rows * n, 1), random(n, 2));
        let (mut biased, mut sums, mut squares) = (x.clone(), start.clone(), to_f64(&start));
        add_bias(&mut biased, &start);
        column_sums(&x, &mut sums);
        column_squares(&x, n, &mut squares);
        for j in 0..n {
            let column: Vec<f64> = (0..rows).map(|r| f64::from(x[r * n + j])).collect();
            (0..rows).for_each(|r| assert_eq!(biased[r * n + j], x[r * n + j] + start[j]));
            assert_close("sum", &sums[j..=j], &[f64::from(start[j]) + column.iter().sum::<f64>()], 1e-7);
            let expected = f64::from(start[j]) + column.iter().map(|x| x * x).sum::<f64>();
            assert!((squares[j] - expected).abs() <= 1e-13 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn every_bf16_survives_the_way_through_f32() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let (mut wide, mut back) = (vec![0f32; all.len()], vec![0u16; all.len()]);
    bf16_to_f32(&all, &mut wide);
    f32_to_bf16(&wide, &mut back);
    for (bits, (wide, back)) in all.iter().zip(wide.iter().zip(&back)) {
        assert_eq!(wide.to_bits(), u32::from(*bits) << 16);
        assert!(back == bits || wide.is_nan() && back & 0x7fff > 0x7f80, "{bits:#x} came back as {back:#x}");
    }
}

/// The value of the half-precision number with these bits, by its definition.
fn half_value(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

#[test]
fn every_half_has_its_value_and_survives() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let (mut wide, mut back) = (vec![0f32; all.len()], vec![0u16; all.len()]);
    f16_to_f32(&all, &mut wide);
    f32_to_f16(&wide, &mut back);
    for (bits, (wide, back)) in all.iter().zip(wide.iter().zip(&back)) {
        let value = half_value(*bits);
        assert!(
            f64::from(*wide) == value && wide.is_sign_negative() == (bits >> 15 == 1)
                || wide.is_nan() && value.is_nan()
        );
        assert!(back == bits || wide.is_nan() && back & 0x7fff > 0x7c00, "{bits:#x} came back as {back:#x}");
    }
}

/// Asserts that each of `x` was rounded to the nearest of its neighbours (even on a tie), where `value` gives the value of 16 bits.
fn assert_nearest(x: &[f32], rounded: &[u16], value: impl Fn(u16) -> f64) {
    for (x, bits) in x.iter().zip(rounded) {
        let distance = |bits: u16| (value(bits) - f64::from(*x)).abs();
        for neighbour in [bits.wrapping_sub(1), bits.wrapping_add(1)] {
            let nearer =
                distance(*bits) < distance(neighbour) || distance(*bits) == distance(neighbour) && bits & 1 == 0;
            assert!(
                nearer || value(neighbour).is_nan() || [0, 0x8000].contains(bits),
                "{x} became {bits:#x}, not {neighbour:#x}"
            );
        }
    }
}

#[test]
fn rounding_is_to_nearest_even() {
    let mut x = random(20_000, 1);
    // ties of both formats, and halves of every size down to the subnormals
    x.extend((0..4000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x1000)));
    x.extend((0..8000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x8000)));
    x.extend(random(20_000, 2).iter().enumerate().map(|(i, x)| x * 0.5f32.powi(i32::from((i % 26) as u8))));
    let mut bits = vec![0u16; x.len()];
    f32_to_bf16(&x, &mut bits);
    assert_nearest(&x, &bits, |bits| f64::from(f32::from_bits(u32::from(bits) << 16)));
    let small: Vec<f32> = x.into_iter().filter(|x| x.abs() < 60_000.0).collect();
    let mut bits = vec![0u16; small.len()];
    f32_to_f16(&small, &mut bits);
    assert_nearest(&small, &bits, half_value);
}

#[test]
fn halves_overflow_to_infinity_and_nan_stays() {
    let mut bits = [0u16; 7];
    f32_to_f16(&[65_519.9, 65_520.0, -1e30, f32::INFINITY, f32::NAN, 2f32.powi(-26), -0.0], &mut bits);
    assert_eq!(bits[..4], [0x7bff, 0x7c00, 0xfc00, 0x7c00]);
    assert!(bits[4] & 0x7fff > 0x7c00);
    assert_eq!(bits[5..], [0, 0x8000]);
    let mut bits = [0u16; 3];
    f32_to_bf16(&[f32::NAN, f32::MAX, f32::from_bits(0x7f80_0001)], &mut bits);
    assert!(bits[0] & 0x7fff > 0x7f80 && bits[1] == 0x7f80 && bits[2] & 0x7fff > 0x7f80, "{bits:x?}");
}

#[test]
fn tiers_and_threads_agree() {
    let (x, bias) = (random(300 * 257, 1), random(257, 2));
    let all = || {
        let (mut biased, mut sums, mut squares, mut bits) =
            (x.clone(), bias.clone(), vec![0f64; 257], vec![0u16; x.len()]);
        add_bias(&mut biased, &bias);
        column_sums(&x, &mut sums);
        column_squares(&x, 257, &mut squares);
        f32_to_bf16(&x, &mut bits);
        let mut rounded = vec![0f32; x.len()];
        bf16_to_f32(&bits, &mut rounded);
        f32_to_f16(&x, &mut bits);
        let mut halved = vec![0f32; x.len()];
        f16_to_f32(&bits, &mut halved);
        let mut products = bias.clone();
        column_products(&x, &biased, &mut products);
        [biased, sums, products, squares.iter().map(|x| *x as f32).collect(), rounded, halved].concat()
    };
    assert_tiers_agree("elementwise", 1e-7, all);
    assert_threads_agree("elementwise", all);
}

#[test]
#[should_panic(expected = "add_assign: the slices differ in length")]
fn lengths_that_differ_panic() {
    add_assign(&mut [0.0; 2], &[0.0; 3]);
}

#[test]
fn soft_caps_agree_with_f64() {
    for (cap, spread) in [(30.0, 200.0), (50.0, 1.0), (1.0, 0.3), (2.0, 1e-3)] {
        let x: Vec<f32> = random(33_001, 1).into_iter().map(|x| x * spread).collect();
        let naive = |x: f64| f64::from(cap) * (x / f64::from(cap)).tanh();
        let capped = || {
            let mut y = x.clone();
            soft_cap(&mut y, cap);
            y
        };
        let y = capped();
        for (x, y) in x.iter().zip(&y) {
            let expected = naive(f64::from(*x));
            assert!((f64::from(*y) - expected).abs() <= 6e-7 * expected.abs(), "{cap}: {y} at {x}, not {expected}");
        }
        let gradient = || {
            let mut gradient = vec![1.0; x.len()];
            soft_cap_backward(&y, &mut gradient, cap);
            gradient
        };
        for (x, gradient) in x.iter().zip(gradient()).step_by(7) {
            let expected = slope(&[f64::from(*x)], 0, |x| naive(x[0]));
            assert!((f64::from(gradient) - expected).abs() <= 1e-6, "{cap}: slope {gradient} at {x}, not {expected}");
        }
        assert_tiers_agree("soft_cap", 5e-7, capped);
        assert_threads_agree("soft_cap", || [capped(), gradient()].concat());
    }
    let mut x = [0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    soft_cap(&mut x, 5.0);
    assert!(x[..3] == [0.0, 5.0, -5.0] && x[3].is_nan(), "{x:?}");
}
