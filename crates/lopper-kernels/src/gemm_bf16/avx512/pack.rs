//! Rounds a strip of an operand to bf16 and packs it so that the product reads it in order.
//!
//! A packed strip is `[pairs along k][W]` of u32: the even element of a pair in the low half, the odd one in the high half; what lies
//! outside the operand is zero.

use std::arch::x86_64::{
    __m128bh, __m128i, __m256bh, __m256i, __m512bh, __m512i, _mm256_cvtepu16_epi32, _mm256_cvtneps_pbh,
    _mm256_maskz_loadu_ps, _mm256_or_si256, _mm256_slli_epi32, _mm256_storeu_si256, _mm512_castsi512_si256,
    _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_maskz_loadu_ps, _mm512_or_si512,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;

/// A strip of an operand: element (j, p) at `data[j·across + p·along]`, where p runs along k; one of the two strides is 1.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    pub data: *const f32,
    pub across: usize,
    pub along: usize,
    /// Elements across that exist, at most the width of the packed strip.
    pub width: usize,
    /// Elements along k.
    pub depth: usize,
}

/// Packs `strip` into `out`, `[depth.div_ceil(2)][W]`; W is 8 or a multiple of 16.
///
/// # Safety
///
/// Every element of the strip must be readable, and the CPU must have the instructions.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx512dq,avx2")]
pub(super) unsafe fn pack<const W: usize>(strip: Strip, out: &mut [u32]) {
    assert!(out.len() >= strip.depth.div_ceil(2) * W && strip.width <= W);
    // SAFETY: the caller's promise, and the assertion for `out`.
    unsafe {
        if strip.across == 1 {
            pack_across::<W>(strip, out.as_mut_ptr());
        } else {
            pack_along::<W>(strip, out.as_mut_ptr());
        }
    }
}

/// Lanes 0..n of 16.
fn first_lanes(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// Neighbours across are neighbours in memory: two rows of the operand interleave into one packed row.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn pack_across<const W: usize>(strip: Strip, out: *mut u32) {
    for pair in 0..strip.depth.div_ceil(2) {
        let odd = 2 * pair + 1 < strip.depth;
        // SAFETY: masked lanes are not read; row 2·pair + 1 is read only if it exists.
        unsafe {
            let even_row = strip.data.add(2 * pair * strip.along);
            let odd_row = if odd { even_row.add(strip.along) } else { even_row };
            let out = out.add(pair * W);
            if W == 8 {
                let mask = first_lanes(strip.width) as u8;
                let odd_mask = if odd { mask } else { 0 };
                let low = _mm256_cvtneps_pbh(_mm256_maskz_loadu_ps(mask, even_row));
                let high = _mm256_cvtneps_pbh(_mm256_maskz_loadu_ps(odd_mask, odd_row));
                let low = _mm256_cvtepu16_epi32(transmute::<__m128bh, __m128i>(low));
                let high = _mm256_cvtepu16_epi32(transmute::<__m128bh, __m128i>(high));
                _mm256_storeu_si256(out.cast(), _mm256_or_si256(low, _mm256_slli_epi32::<16>(high)));
            } else {
                for j in (0..W).step_by(16) {
                    let mask = first_lanes(strip.width.saturating_sub(j));
                    let odd_mask = if odd { mask } else { 0 };
                    let low = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, even_row.wrapping_add(j)));
                    let high = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(odd_mask, odd_row.wrapping_add(j)));
                    let low = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(low));
                    let high = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(high));
                    _mm512_storeu_si512(out.add(j).cast(), _mm512_or_si512(low, _mm512_slli_epi32::<16>(high)));
                }
            }
        }
    }
}

/// Neighbours along k are neighbours in memory: 16 rows of 16 pairs are transposed at a time.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn pack_along<const W: usize>(strip: Strip, out: *mut u32) {
    let pairs = strip.depth.div_ceil(2);
    for across in (0..W).step_by(16) {
        for first in (0..pairs).step_by(16) {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (i, row) in rows.iter_mut().enumerate().take(strip.width.saturating_sub(across).min(16)) {
                // SAFETY: row across + i is below the strip's width.
                *row = unsafe { load_pairs(strip.data.add((across + i) * strip.across), 2 * first, strip.depth) };
            }
            for (i, column) in transpose(&rows).into_iter().enumerate().take(pairs - first) {
                // SAFETY: pair first + i exists, and W − across columns of it are left, 16 or (of 8) 8.
                unsafe {
                    let to = out.add((first + i) * W + across);
                    if W == 8 {
                        _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(column));
                    } else {
                        _mm512_storeu_si512(to.cast(), column);
                    }
                }
            }
        }
    }
}

/// Transposes 16 rows of 16 words.
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    let (mut twos, mut fours, mut out) = (*rows, *rows, *rows);
    for i in (0..16).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // fours[4g + c] has, in its quarter q, column 4q + c of rows 4g..4g + 4
    for i in (0..16).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
    }
    for c in 0..4 {
        // quarters (0, 2) and (1, 3) of the upper and of the lower eight rows
        let upper = (
            _mm512_shuffle_i32x4::<0x88>(fours[c], fours[4 + c]),
            _mm512_shuffle_i32x4::<0xdd>(fours[c], fours[4 + c]),
        );
        let lower = (
            _mm512_shuffle_i32x4::<0x88>(fours[8 + c], fours[12 + c]),
            _mm512_shuffle_i32x4::<0xdd>(fours[8 + c], fours[12 + c]),
        );
        out[c] = _mm512_shuffle_i32x4::<0x88>(upper.0, lower.0);
        out[4 + c] = _mm512_shuffle_i32x4::<0x88>(upper.1, lower.1);
        out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(upper.0, lower.0);
        out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(upper.1, lower.1);
    }
    out
}

/// Elements first..first + 32 of a row of `depth`, as pairs of bf16, zero past the end.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx512dq,avx2")]
unsafe fn load_pairs(row: *const f32, first: usize, depth: usize) -> __m512i {
    // SAFETY: masked lanes are not read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(first_lanes(depth - first), row.wrapping_add(first));
        let high = _mm512_maskz_loadu_ps(first_lanes((depth - first).saturating_sub(16)), row.wrapping_add(first + 16));
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}
