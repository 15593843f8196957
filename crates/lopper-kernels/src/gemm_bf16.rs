//! Matrix products of operands rounded to bf16, accumulated in f32.
//!
//! `c = Σ bf16(a)·bf16(b)` along k. Where the CPU has AVX512-BF16 the operands are packed to bf16 and multiplied two at a time
//! (`vdpbf16ps`); elsewhere they are rounded the same way and multiplied as f32. The two differ only by the rounding of the sums, and
//! by subnormal inputs and products, which the instruction takes for zero.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::dispatch::{Tier, simd, tier};
use crate::elementwise::CHUNK;
use crate::gemm::{View, single};
use crate::half_precision::round_to_bf16;
use rayon::prelude::*;

/// Whether products of bf16 operands run on instructions of their own on this CPU (AVX512-BF16).
pub fn bf16_is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        tier() == Tier::Avx512 && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The product of checked, non-empty operands.
pub(crate) fn multiply(out: &mut [f32], out_leading: usize, accumulate: bool, a: View, b: View) {
    #[cfg(target_arch = "x86_64")]
    if bf16_is_native() {
        // SAFETY: the CPU has the instructions, and `matmul` checked the extents.
        return unsafe { avx512::multiply(out, out_leading, accumulate, a, b) };
    }
    let (left, right) = (rounded(a), rounded(b));
    single(out, out_leading, accumulate, View { data: &left, ..a }, View { data: &right, ..b });
}

simd! {
    fn round_chunk(x: &[f32], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f32::from_bits(u32::from(round_to_bf16(*x)) << 16);
        }
    }
}

/// The view's whole slice, rounded.
fn rounded(view: View) -> Vec<f32> {
    let (rows, cols) = if view.transposed { (view.cols, view.rows) } else { (view.rows, view.cols) };
    let used = &view.data[..(rows - 1) * view.leading + cols];
    let (tier, mut out) = (tier(), vec![0f32; used.len()]);
    out.par_chunks_mut(CHUNK).zip(used.par_chunks(CHUNK)).for_each(|(out, x)| round_chunk(tier, x, out));
    out
}
