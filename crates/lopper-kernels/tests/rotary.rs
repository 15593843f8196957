//! Rotary embedding against an f64 reference; the inverse is its transpose.

use crate::reference;

use lopper_kernels::{RotaryPairs, rotate};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, random, to_f64};

/// `(offsets, heads, head_dim, rotary_dim)`
type Shape = (&'static [usize], usize, usize, usize);

const SHAPES: [Shape; 5] = [
    (&[0, 5, 5, 6, 40], 3, 64, 64),
    (&[0, 3], 1, 2, 2),
    (&[0, 1, 20], 2, 10, 6),
    (&[0, 17], 2, 80, 32),
    (&[0, 4], 1, 6, 0),
];

/// cos and sin tables of `[positions, half]`.
fn tables(positions: usize, half: usize) -> (Vec<f32>, Vec<f32>) {
    let angle = |i: usize| (i / half) as f64 / 10_000f64.powf((i % half) as f64 / half as f64);
    (0..positions * half).map(|i| (angle(i).cos() as f32, angle(i).sin() as f32)).unzip()
}

const PAIRS: [RotaryPairs; 2] = [RotaryPairs::Halves, RotaryPairs::Neighbours];

fn naive(x: &[f64], (offsets, heads, head_dim, rotary_dim): Shape, pairs: RotaryPairs, sign: f64) -> Vec<f64> {
    let (half, mut out) = (rotary_dim / 2, x.to_vec());
    for pair in offsets.windows(2) {
        let (cos, sin) = tables(pair[1] - pair[0], half.max(1));
        for row in pair[0]..pair[1] {
            for head in 0..heads {
                for i in 0..half {
                    let start = (row * heads + head) * head_dim;
                    let (a, b) = match pairs {
                        RotaryPairs::Halves => (start + i, start + i + half),
                        RotaryPairs::Neighbours => (start + 2 * i, start + 2 * i + 1),
                    };
                    let entry = (row - pair[0]) * half + i;
                    let (c, s) = (f64::from(cos[entry]), sign * f64::from(sin[entry]));
                    (out[a], out[b]) = (x[a] * c - x[b] * s, x[b] * c + x[a] * s);
                }
            }
        }
    }
    out
}

fn rotated(x: &[f32], (offsets, _, head_dim, rotary_dim): Shape, pairs: RotaryPairs, inverse: bool) -> Vec<f32> {
    let (cos, sin) = tables(50, (rotary_dim / 2).max(1));
    let mut out = x.to_vec();
    rotate(&mut out, head_dim, offsets, &cos, &sin, rotary_dim, pairs, inverse);
    out
}

#[test]
fn both_directions_agree_with_f64() {
    for shape in SHAPES {
        let (offsets, heads, head_dim, _) = shape;
        let x = random(offsets[offsets.len() - 1] * heads * head_dim, 1);
        for (pairs, (inverse, sign)) in
            PAIRS.into_iter().flat_map(|pairs| [(pairs, (false, 1.0)), (pairs, (true, -1.0))])
        {
            let expected = naive(&to_f64(&x), shape, pairs, sign);
            assert_close(
                &format!("{shape:?} {pairs:?} {inverse}"),
                &rotated(&x, shape, pairs, inverse),
                &expected,
                3e-7,
            );
        }
    }
}

#[test]
fn the_inverse_undoes_and_transposes() {
    for shape in SHAPES {
        let (offsets, heads, head_dim, _) = shape;
        let length = offsets[offsets.len() - 1] * heads * head_dim;
        let (x, y) = (random(length, 1), random(length, 2));
        for pairs in PAIRS {
            let turned = rotated(&x, shape, pairs, false);
            assert_close("undone", &rotated(&turned, shape, pairs, true), &to_f64(&x), 1e-6);
            let left = inner(&to_f64(&turned), &to_f64(&y));
            let right = inner(&to_f64(&x), &to_f64(&rotated(&y, shape, pairs, true)));
            assert!((left - right).abs() < 1e-5 * (length as f64).sqrt(), "⟨Rx, y⟩ = {left} but ⟨x, Rᵀy⟩ = {right}");
        }
    }
}

#[test]
fn tiers_and_threads_agree() {
    for shape in SHAPES {
        let x = random(shape.0[shape.0.len() - 1] * shape.1 * shape.2, 1);
        for pairs in PAIRS {
            assert_tiers_agree("rotate", 3e-7, || rotated(&x, shape, pairs, false));
            assert_threads_agree("rotate", || rotated(&x, shape, pairs, false));
        }
    }
}

#[test]
#[should_panic(expected = "tables shorter than the longest sequence")]
fn short_tables_panic() {
    rotate(&mut [0.0; 6], 2, &[0, 1, 3], &[1.0], &[0.0], 2, RotaryPairs::Halves, false);
}
