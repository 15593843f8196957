//! The clamped gate of gpt-oss, fused with its product, on gates and what they gate by turns.
//!
//! Of each pair (g, u): out = c·σ(α·c)·(clamp(u, ±limit) + 1) with c = min(g, limit). `OpenAI`, "gpt-oss-120b & gpt-oss-20b Model Card", 2025,
//! arXiv:2508.10925, §2.2. Backward, with s = σ(α·c): ∂/∂g = d·(u + 1)·s·(1 + α·c·(1 − s)) as far as g is within its bound, ∂/∂u = d·c·s as far
//! as u is.

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use crate::math::{exp, mul_add};
use rayon::prelude::*;

/// What a clamped gate is; the module says the formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClampedGate {
    /// α: steepness of the sigmoid.
    pub alpha: f32,
    /// Upper bound of gates, and bound to both sides of what they gate; above 0.
    pub limit: f32,
}

// comparisons leave NaN alone
simd! {
    fn forward_chunk(gate: ClampedGate, pairs: &[f32], out: &mut [f32]) {
        let ClampedGate { alpha, limit } = gate;
        for (out, pair) in out.iter_mut().zip(pairs.chunks_exact(2)) {
            let g = if pair[0] > limit { limit } else { pair[0] };
            let u = if pair[1] > limit { limit } else { pair[1] };
            let u = if u < -limit { -limit } else { u };
            let gated = g / (1.0 + exp::<FUSED>(-alpha * g));
            *out = mul_add::<FUSED>(gated, u, gated);
        }
    }
    fn backward_chunk(gate: ClampedGate, pairs: &[f32], d_out: &[f32], d_pairs: &mut [f32]) {
        let ClampedGate { alpha, limit } = gate;
        let pairs = pairs.chunks_exact(2).zip(d_pairs.chunks_exact_mut(2));
        for ((pair, d_pair), d_out) in pairs.zip(d_out) {
            let g = if pair[0] > limit { limit } else { pair[0] };
            let u = if pair[1] > limit { limit } else { pair[1] };
            let u = if u < -limit { -limit } else { u };
            let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-alpha * g));
            let gated = g * sigmoid;
            let slope = mul_add::<FUSED>(alpha * gated, 1.0 - sigmoid, sigmoid);
            let (d_gate, d_up) = (d_out * (u + 1.0) * slope, d_out * gated);
            d_pair[0] = if pair[0] > limit { 0.0 } else { d_gate };
            d_pair[1] = if pair[1].abs() > limit { 0.0 } else { d_up };
        }
    }
}

/// `out` of `pairs`, gates and what they gate by turns, twice as long.
///
/// # Panics
///
/// If the lengths contradict each other.
pub fn clamped_gate(gate: ClampedGate, pairs: &[f32], out: &mut [f32]) {
    assert_eq!(pairs.len(), 2 * out.len(), "clamped_gate: pairs are not twice as long as out");
    let tier = tier();
    let pairs = pairs.par_chunks(2 * CHUNK);
    out.par_chunks_mut(CHUNK).zip(pairs).for_each(|(out, pairs)| forward_chunk(tier, gate, pairs, out));
}

/// Gradient of [`clamped_gate`]; overwrites `d_pairs`.
///
/// # Panics
///
/// If the lengths contradict each other.
pub fn clamped_gate_backward(gate: ClampedGate, pairs: &[f32], d_out: &[f32], d_pairs: &mut [f32]) {
    let lengths = [pairs.len(), d_pairs.len()];
    assert!(lengths == [2 * d_out.len(); 2], "clamped_gate_backward: pairs are not twice as long as d_out");
    let tier = tier();
    let inputs = pairs.par_chunks(2 * CHUNK).zip(d_out.par_chunks(CHUNK));
    d_pairs
        .par_chunks_mut(2 * CHUNK)
        .zip(inputs)
        .for_each(|(d_pairs, (pairs, d_out))| backward_chunk(tier, gate, pairs, d_out, d_pairs));
}
