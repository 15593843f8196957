//! Rows that become the columns of a panel, 16 × 16 at a time in registers.

use super::COLS;
use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

/// Lanes of a register, and the side of a square.
const SIDE: usize = 16;

/// `out[p·COLS + j] = data[j·leading + p]` for the `width` rows `j`; zero for the others. Called on AVX-512 only.
pub(super) fn turn(data: &[f32], leading: usize, width: usize, out: &mut [f32]) {
    let depth = out.len() / COLS;
    assert!(
        width <= COLS && data.len() >= (width - 1) * leading + depth,
        "turn: {width} rows of {depth} in {}",
        data.len()
    );
    let (squares, whole) = (depth / SIDE, width / SIDE * SIDE);
    for p in (0..squares * SIDE).step_by(SIDE) {
        for j in (0..whole).step_by(SIDE) {
            // SAFETY: the CPU has AVX-512 (the caller runs nowhere else); the square ends at row j + 16 ≤ width and column p + 16 ≤ depth,
            // inside `data` by the assertion and inside `out`, which has `depth` rows of COLS.
            unsafe { square(data.as_ptr().add(j * leading + p), leading, out.as_mut_ptr().add(p * COLS + j)) };
        }
    }
    for (p, out) in out.chunks_exact_mut(COLS).enumerate() {
        let turned = if p < squares * SIDE { whole } else { 0 };
        for (j, out) in out.iter_mut().enumerate().skip(turned) {
            *out = if j < width { data[j * leading + p] } else { 0.0 };
        }
    }
}

/// Turns one square: elements change places between neighbours, then pairs, then quarters of a register.
#[target_feature(enable = "avx512f")]
unsafe fn square(from: *const f32, leading: usize, to: *mut f32) {
    // SAFETY: both squares are valid by the caller's promise.
    unsafe {
        let rows: [__m512; SIDE] = std::array::from_fn(|i| _mm512_loadu_ps(from.add(i * leading)));
        for (i, column) in columns(&rows).into_iter().enumerate() {
            _mm512_storeu_ps(to.add(i * COLS), column);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn columns(rows: &[__m512; SIDE]) -> [__m512; SIDE] {
    let zero = [_mm512_setzero_ps(); SIDE];
    let (mut pairs, mut fours, mut eights, mut columns) = (zero, zero, zero, zero);
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        for half in 0..2 {
            let [low, high] = [pairs[4 * i + half], pairs[4 * i + half + 2]].map(|pair| _mm512_castps_pd(pair));
            fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    for i in 0..4 {
        for half in 0..2 {
            let (low, high) = (fours[8 * half + i], fours[8 * half + i + 4]);
            eights[8 * half + i] = _mm512_shuffle_f32x4::<0x88>(low, high);
            eights[8 * half + i + 4] = _mm512_shuffle_f32x4::<0xdd>(low, high);
        }
    }
    for i in 0..8 {
        columns[i] = _mm512_shuffle_f32x4::<0x88>(eights[i], eights[i + 8]);
        columns[i + 8] = _mm512_shuffle_f32x4::<0xdd>(eights[i], eights[i + 8]);
    }
    columns
}
