//! Scalar functions written so that loops over them vectorise in every tier.
#![allow(clippy::inline_always, reason = "they have to be compiled inside the caller's target features")]

/// `a·b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The same in f64.
#[inline(always)]
pub(crate) fn mul_add_f64<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// eˣ to about 2 units in the last place on [−87, 88]; arguments outside are clamped to it, and NaN stays NaN.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2; eʳ by a polynomial of degree 7 (Moshier's Cephes coefficients), and n is added to the exponent.
/// Adding 1.5·2²³ rounds to the nearest integer and leaves it in the low bits, which needs no rounding instruction.
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    // written as comparisons, since `f32::max` would turn NaN into a number
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = mul_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FUSED>(-n, 0.693_359_4, x); // ln 2 in two parts: this one is exact in 9 bits
    let r = mul_add::<FUSED>(n, 2.121_944_4e-4, r);
    let p = mul_add::<FUSED>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = mul_add::<FUSED>(p, r, 8.333_452e-3);
    let p = mul_add::<FUSED>(p, r, 4.166_579_6e-2);
    let p = mul_add::<FUSED>(p, r, 0.166_666_66);
    let p = mul_add::<FUSED>(p, r, 0.5);
    let y = mul_add::<FUSED>(p, r * r, r) + 1.0;
    f32::from_bits(y.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `(Φ(−a), e^(−a²/2))` for a ≥ 0, Φ the distribution function of the standard normal; both 0 beyond 12.6, and NaN stays NaN.
///
/// Φ(−a) = e^(−a²/2)·t·P(a·t) with t = 1/(a + k) and k = 3.75: e^(a²/2)·Φ(−a)·(a + k) is smooth in a·t, which is in [0, 1) for all
/// a ≥ 0. P, of degree 8, was fitted for this by Remez's exchange algorithm in f64. It has the least largest relative error over
/// 0 ≤ a ≤ 12.75, 1.4e-8; among k = 2, 2¼, … 6¾, this one came nearest to Φ with the coefficients and the arithmetic rounded to f32.
#[inline(always)]
pub(crate) fn normal_tail<const FUSED: bool>(a: f32) -> (f32, f32) {
    // the tail would leave the normal numbers soon after
    let far = a > 12.6;
    let a = if far { 12.6 } else { a };
    let bell = if far { 0.0 } else { exp::<FUSED>(-0.5 * a * a) };
    let t = 1.0 / (a + 3.75);
    let v = a * t;
    let p = mul_add::<FUSED>(0.113_447_35, v, -0.388_644_43);
    let p = mul_add::<FUSED>(p, v, 0.299_282_5);
    let p = mul_add::<FUSED>(p, v, 0.386_811_32);
    let p = mul_add::<FUSED>(p, v, -0.285_467_8);
    let p = mul_add::<FUSED>(p, v, -1.704_838_8);
    let p = mul_add::<FUSED>(p, v, 3.838_541_3);
    let p = mul_add::<FUSED>(p, v, -3.735_131_5);
    let p = mul_add::<FUSED>(p, v, 1.875);
    (bell * (t * p), bell)
}

/// tanh x to about 4 units in the last place; NaN stays NaN.
#[inline(always)]
pub(crate) fn tanh<const FUSED: bool>(x: f32) -> f32 {
    let fall = exp::<FUSED>(-2.0 * x.abs());
    let far = ((1.0 - fall) / (1.0 + fall)).copysign(x);
    // the difference above has few digits near 0: there, the beginning of the series
    let square = x * x;
    let p = mul_add::<FUSED>(square, 62.0 / 2835.0, -17.0 / 315.0);
    let p = mul_add::<FUSED>(square, p, 2.0 / 15.0);
    let p = mul_add::<FUSED>(square, p, -1.0 / 3.0);
    let near = mul_add::<FUSED>(x * square, p, x);
    if square < 0.0625 { near } else { far }
}

/// Combines 16 lanes to one by halving, which takes four vector steps where a fold would take 15 dependent ones.
#[inline(always)]
fn halve(mut lanes: [f32; 16], combine: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// The sum of 16 partial sums.
#[inline(always)]
pub(crate) fn sum(lanes: [f32; 16]) -> f32 {
    halve(lanes, |a, b| a + b)
}

/// The largest of 16 numbers, as the instruction finds it: of a pair with a NaN, the second.
#[inline(always)]
pub(crate) fn largest(lanes: [f32; 16]) -> f32 {
    halve(lanes, larger)
}

/// The larger of two numbers; of a pair with a NaN, the second. Unlike `f32::max` it is one instruction.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Σ aᵢ·bᵢ over two slices of one length, in 32 partial sums.
#[inline(always)]
pub(crate) fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let (mut first, mut second) = ([0f32; 16], [0f32; 16]);
    let (left, right) = (a.chunks_exact(32), b.chunks_exact(32));
    let tail: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for i in 0..16 {
            first[i] = mul_add::<FUSED>(x[i], y[i], first[i]);
            second[i] = mul_add::<FUSED>(x[i + 16], y[i + 16], second[i]);
        }
    }
    sum(first) + sum(second) + tail
}
