//! The gated activation of Llama-like feed-forward layers, fused with its product.
//!
//! out = silu(gate) · up with silu(x) = x·σ(x). N. Shazeer, "GLU Variants Improve Transformer", 2020, arXiv:2002.05202, eq. 6 (`SwiGLU`).
//! Backward, with σ = σ(gate): ∂/∂gate = d·up·σ·(1 + gate·(1 − σ)), ∂/∂up = d·gate·σ.

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use crate::math::exp;
use rayon::prelude::*;

simd! {
    fn forward_chunk(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp::<FUSED>(-gate)) * up;
        }
    }
    fn backward_chunk(gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let n = gate.len();
        let (up, d_out, d_gate, d_up) = (&up[..n], &d_out[..n], &mut d_gate[..n], &mut d_up[..n]);
        for i in 0..n {
            let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-gate[i]));
            let silu = gate[i] * sigmoid;
            d_gate[i] = d_out[i] * up[i] * (sigmoid + silu * (1.0 - sigmoid));
            d_up[i] = d_out[i] * silu;
        }
    }
}

/// `out = silu(gate) · up`, element by element.
///
/// # Panics
///
/// If the lengths differ.
pub fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = out.len();
    assert!(gate.len() == n && up.len() == n, "gated_silu: the slices differ in length");
    let tier = tier();
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (gate, up))| forward_chunk(tier, gate, up, out));
}

/// Gradients of [`gated_silu`]; overwrites `d_gate` and `d_up`.
///
/// # Panics
///
/// If the lengths differ.
pub fn gated_silu_backward(gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let n = d_out.len();
    let lengths = [gate.len(), up.len(), d_gate.len(), d_up.len()];
    assert!(lengths == [n; 4], "gated_silu_backward: the slices differ in length");
    let tier = tier();
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(d_out.par_chunks(CHUNK));
    let outputs = d_gate.par_chunks_mut(CHUNK).zip(d_up.par_chunks_mut(CHUNK));
    outputs
        .zip(inputs)
        .for_each(|((d_gate, d_up), ((gate, up), d_out))| backward_chunk(tier, gate, up, d_out, d_gate, d_up));
}
