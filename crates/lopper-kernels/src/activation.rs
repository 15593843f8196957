//! The activations of feed-forward layers and of gates, with their slopes.
//!
//! | kind | value | slope |
//! |---|---|---|
//! | SiLU | x·σ | σ + x·σ·(1 − σ) with σ = 1/(1 + e⁻ˣ) |
//! | GELU | x·Φ(x) | Φ(x) + x·φ(x) with φ(x) = e^(−x²/2)/√(2π) and Φ(x) = ∫ φ = ½(1 + erf(x/√2)) |
//! | GELU by tanh | x·½(1 + tanh u) = x·σ(2u) with u = √(2/π)·(x + 0.044715·x³) | σ(2u) + x·σ(2u)·(1 − σ(2u))·2u′ |
//! | ReLU | max(x, 0) | 1 above 0, 0 elsewhere |
//! | ReLU² | max(x, 0)² | 2·max(x, 0) |
//! | sigmoid | σ | σ·(1 − σ) |
//! | identity | x | 1 |
//!
//! D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, arXiv:1606.08415, §2, for SiLU and both forms of GELU;
//! D. R. So et al., "Primer", 2021, arXiv:2109.08668, for ReLU².

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use crate::math::{exp, mul_add, normal_tail};
use rayon::prelude::*;

/// An activation of a feed-forward layer or a gate; the module says the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x·σ(x), also called Swish.
    Silu,
    /// x·Φ(x), by the error function.
    Gelu,
    /// The approximation of [`Activation::Gelu`] by tanh.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// max(x, 0)².
    ReluSquared,
    /// σ(x): a gate.
    Sigmoid,
    /// x: a gate that is a plain product.
    Identity,
}

impl Activation {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Silu, Self::Gelu, Self::GeluTanh, Self::Relu, Self::ReluSquared, Self::Sigmoid, Self::Identity];
}

/// An activation at one point.
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
pub(crate) trait Curve {
    fn value<const FUSED: bool>(x: f32) -> f32;
    /// `(value, slope)`.
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32);
}

pub(crate) struct Silu;
pub(crate) struct Gelu;
pub(crate) struct GeluTanh;
pub(crate) struct Relu;
pub(crate) struct ReluSquared;
pub(crate) struct Sigmoid;
pub(crate) struct Identity;

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for Silu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        x / (1.0 + exp::<FUSED>(-x))
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-x));
        let silu = x * sigmoid;
        (silu, sigmoid + silu * (1.0 - sigmoid))
    }
}

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for Gelu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        let (tail, _) = normal_tail::<FUSED>(x.abs());
        x * if x > 0.0 { 1.0 - tail } else { tail }
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        const DENSITY: f32 = 0.398_942_3; // 1/√(2π)
        let (tail, bell) = normal_tail::<FUSED>(x.abs());
        let below = if x > 0.0 { 1.0 - tail } else { tail };
        (x * below, mul_add::<FUSED>(x * DENSITY, bell, below))
    }
}

/// 2u = x·(LINEAR + CUBIC·x²): √(8/π), and 0.044715 times that.
const LINEAR: f32 = 1.595_769;
const CUBIC: f32 = 0.071_354_814;

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for GeluTanh {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        x / (1.0 + exp::<FUSED>(-x * mul_add::<FUSED>(CUBIC, x * x, LINEAR)))
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        // the sigmoid is 0 or 1 to the last bit beyond, where the cube would overflow; comparisons leave NaN alone
        let near = if x > 10.0 { 10.0 } else { x };
        let near = if near < -10.0 { -10.0 } else { near };
        let square = near * near;
        let fall = exp::<FUSED>(-near * mul_add::<FUSED>(CUBIC, square, LINEAR));
        let sigmoid = 1.0 / (1.0 + fall);
        let steepness = near * mul_add::<FUSED>(3.0 * CUBIC, square, LINEAR);
        // fall·σ is 1 − σ without the cancellation
        (x * sigmoid, mul_add::<FUSED>(steepness * sigmoid, fall * sigmoid, sigmoid))
    }
}

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for Relu {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        // not `f32::max`, which would turn NaN into 0
        if x <= 0.0 { 0.0 } else { x }
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        if x <= 0.0 { (0.0, 0.0) } else { (x, 1.0) }
    }
}

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for ReluSquared {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        if x <= 0.0 { 0.0 } else { x * x }
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        if x <= 0.0 { (0.0, 0.0) } else { (x * x, 2.0 * x) }
    }
}

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for Sigmoid {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        1.0 / (1.0 + exp::<FUSED>(-x))
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        // of |x|, where the sigmoid of −|x| is not lost in the sum
        let fall = exp::<FUSED>(-x.abs());
        let above = 1.0 / (1.0 + fall);
        let below = fall * above;
        (if x < 0.0 { below } else { above }, above * below)
    }
}

#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
impl Curve for Identity {
    #[inline(always)]
    fn value<const FUSED: bool>(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn value_and_slope<const FUSED: bool>(x: f32) -> (f32, f32) {
        (x, 1.0)
    }
}

/// Calls `loop::<curve of the kind, FUSED>(arguments)`, so that the choice is made outside the loop.
macro_rules! by_kind {
    ($kind:ident, $loop:ident($($argument:ident),*)) => {
        match $kind {
            $crate::activation::Activation::Silu => $loop::<$crate::activation::Silu, FUSED>($($argument),*),
            $crate::activation::Activation::Gelu => $loop::<$crate::activation::Gelu, FUSED>($($argument),*),
            $crate::activation::Activation::GeluTanh => $loop::<$crate::activation::GeluTanh, FUSED>($($argument),*),
            $crate::activation::Activation::Relu => $loop::<$crate::activation::Relu, FUSED>($($argument),*),
            $crate::activation::Activation::ReluSquared => $loop::<$crate::activation::ReluSquared, FUSED>($($argument),*),
            $crate::activation::Activation::Sigmoid => $loop::<$crate::activation::Sigmoid, FUSED>($($argument),*),
            $crate::activation::Activation::Identity => $loop::<$crate::activation::Identity, FUSED>($($argument),*),
        }
    };
}
pub(crate) use by_kind;

simd! {
    fn forward_chunk(kind: Activation, x: &[f32], out: &mut [f32]) {
        by_kind!(kind, forward_loop(x, out));
    }
    fn backward_chunk(kind: Activation, x: &[f32], d_out: &[f32], dx: &mut [f32]) {
        by_kind!(kind, backward_loop(x, d_out, dx));
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn forward_loop<C: Curve, const FUSED: bool>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = C::value::<FUSED>(*x);
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn backward_loop<C: Curve, const FUSED: bool>(x: &[f32], d_out: &[f32], dx: &mut [f32]) {
    for ((dx, x), d_out) in dx.iter_mut().zip(x).zip(d_out) {
        *dx = d_out * C::value_and_slope::<FUSED>(*x).1;
    }
}

/// `out = activation(x)`, element by element.
///
/// # Panics
///
/// If the lengths differ.
pub fn activate(kind: Activation, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "activate: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| forward_chunk(tier, kind, x, out));
}

/// The gradient of [`activate`], `d_out` times the slope at `x`; overwrites `dx`.
///
/// # Panics
///
/// If the lengths differ.
pub fn activate_backward(kind: Activation, x: &[f32], d_out: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dx.len() && d_out.len() == dx.len(), "activate_backward: the slices differ in length");
    let tier = tier();
    let inputs = x.par_chunks(CHUNK).zip(d_out.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (x, d_out))| backward_chunk(tier, kind, x, d_out, dx));
}
