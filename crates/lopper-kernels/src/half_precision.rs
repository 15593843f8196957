//! Conversions between f32 and the two 16-bit formats, on their bits; rounding to nearest, ties to even.

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use rayon::prelude::*;

/// Bits of the bf16 nearest to `x`; NaN stays (a quiet) NaN.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
pub(crate) fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

simd! {
    fn bf16_chunk_to_f32(x: &[u16], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f32::from_bits(u32::from(*x) << 16);
        }
    }
    fn f32_chunk_to_bf16(x: &[f32], out: &mut [u16]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = round_to_bf16(*x);
        }
    }
    fn f16_chunk_to_f32(x: &[u16], out: &mut [f32]) {
        let two_to_112 = f32::from_bits((127 + 112) << 23);
        for (out, x) in out.iter_mut().zip(x) {
            // exponent and mantissa in place, then the bias corrected by an exact product, which makes subnormals right
            let magnitude = (u32::from(*x) & 0x7fff) << 13;
            let scaled = (f32::from_bits(magnitude) * two_to_112).to_bits();
            let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
            *out = f32::from_bits(scaled | special | (u32::from(*x) & 0x8000) << 16);
        }
    }
    fn f32_chunk_to_f16(x: &[f32], out: &mut [u16]) {
        for (out, x) in out.iter_mut().zip(x) {
            let magnitude = x.to_bits() & 0x7fff_ffff;
            // the bias moved by 112, the 13 low bits rounded away; a carry may reach the exponent, as it should
            let normal = magnitude.wrapping_add((0u32.wrapping_sub(112 << 23)).wrapping_add(0xfff + ((magnitude >> 13) & 1))) >> 13;
            // below 2⁻¹⁴: adding ½ leaves the value as a multiple of 2⁻²⁴ in the low bits, rounded by the addition
            let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
            let finite = if magnitude < 113 << 23 { subnormal } else { normal };
            let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
            let half = if magnitude >= 143 << 23 { special } else { finite };
            *out = (half | (x.to_bits() >> 16) & 0x8000) as u16;
        }
    }
}

/// `out = x` for bits of bf16; exact.
///
/// # Panics
///
/// If the lengths differ.
pub fn bf16_to_f32(x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "bf16_to_f32: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| bf16_chunk_to_f32(tier, x, out));
}

/// `out = x` rounded to bits of bf16, to nearest with ties to even; NaN stays NaN.
///
/// # Panics
///
/// If the lengths differ.
pub fn f32_to_bf16(x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "f32_to_bf16: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| f32_chunk_to_bf16(tier, x, out));
}

/// `out = x` for bits of IEEE half precision; exact, subnormals included.
///
/// # Panics
///
/// If the lengths differ.
pub fn f16_to_f32(x: &[u16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "f16_to_f32: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| f16_chunk_to_f32(tier, x, out));
}

/// `out = x` rounded to bits of IEEE half precision, to nearest with ties to even; too large becomes infinite, NaN stays NaN.
///
/// # Panics
///
/// If the lengths differ.
pub fn f32_to_f16(x: &[f32], out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "f32_to_f16: the slices differ in length");
    let tier = tier();
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| f32_chunk_to_f16(tier, x, out));
}
