//! The gated activation of Llama-like feed-forward layers, fused with its product.
//!
//! out = act(gate) · up for each [`Activation`]. N. Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, eq. 5 and 6: SiLU
//! gives `SwiGLU`, GELU `GEGLU`, ReLU `ReGLU`. Backward: ∂/∂gate = d·up·act′(gate), ∂/∂up = d·act(gate).

use crate::activation::{Activation, Curve, by_kind};
use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use rayon::prelude::*;

simd! {
    fn forward_chunk(kind: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        by_kind!(kind, forward_loop(gate, up, out));
    }
    fn backward_chunk(kind: Activation, gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        by_kind!(kind, backward_loop(gate, up, d_out, d_gate, d_up));
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn forward_loop<C: Curve, const FUSED: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = C::value::<FUSED>(*gate) * up;
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
fn backward_loop<C: Curve, const FUSED: bool>(
    gate: &[f32],
    up: &[f32],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let n = gate.len();
    let (up, d_out, d_gate, d_up) = (&up[..n], &d_out[..n], &mut d_gate[..n], &mut d_up[..n]);
    for i in 0..n {
        let (value, slope) = C::value_and_slope::<FUSED>(gate[i]);
        d_gate[i] = d_out[i] * up[i] * slope;
        d_up[i] = d_out[i] * value;
    }
}

/// `out = activation(gate) · up`, element by element.
///
/// # Panics
///
/// If the lengths differ.
pub fn gated(kind: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = out.len();
    assert!(gate.len() == n && up.len() == n, "gated: the slices differ in length");
    let tier = tier();
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (gate, up))| forward_chunk(tier, kind, gate, up, out));
}

/// Gradients of [`gated`]; overwrites `d_gate` and `d_up`.
///
/// # Panics
///
/// If the lengths differ.
pub fn gated_backward(kind: Activation, gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let n = d_out.len();
    let lengths = [gate.len(), up.len(), d_gate.len(), d_up.len()];
    assert!(lengths == [n; 4], "gated_backward: the slices differ in length");
    let tier = tier();
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(d_out.par_chunks(CHUNK));
    let outputs = d_gate.par_chunks_mut(CHUNK).zip(d_up.par_chunks_mut(CHUNK));
    outputs
        .zip(inputs)
        .for_each(|((d_gate, d_up), ((gate, up), d_out))| backward_chunk(tier, kind, gate, up, d_out, d_gate, d_up));
}
