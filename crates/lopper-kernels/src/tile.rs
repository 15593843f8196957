//! Small matrix products on one thread, without packing: what attention does on its tiles, and [`crate::gemm_f32`] on its panels.
//!
//! c[m, n] (+)= a[m, k] · b[k, n] with `a` broadcast from memory in either layout and `b` row-major. Each element is summed along k in
//! order, in blocks of [`DEPTH`], so its bits do not depend on how the caller cuts m and n.

use crate::dispatch::Tier;
use crate::lanes::{Lanes, Portable};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

/// Rows of `b` taken at a time, so that a strip of it stays in the first-level cache.
const DEPTH: usize = 128;

/// The left operand: element (r, p) at `data[r·row + p·depth]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub depth: usize,
}

/// The right operand: element (p, j) at `data[p·leading + j]`.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub data: &'a [f32],
    pub leading: usize,
}

/// The shape of a product: `[m, k] · [k, n]`.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// `out (+)= a · b`; rows of `out` start `leading` apart.
pub(crate) fn multiply(
    tier: Tier,
    extent: Extent,
    a: Left,
    b: Right,
    out: &mut [f32],
    leading: usize,
    accumulate: bool,
) {
    let Extent { m, n, k } = extent;
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= (m - 1) * leading + n, "tile: out is too short");
    if k > 0 {
        assert!(a.data.len() > (m - 1) * a.row + (k - 1) * a.depth, "tile: the left operand is too short");
        assert!(b.data.len() >= (k - 1) * b.leading + n, "tile: the right operand is too short");
    }
    let call = Call {
        a: a.data.as_ptr(),
        a_row: a.row,
        a_depth: a.depth,
        b: b.data.as_ptr(),
        b_leading: b.leading,
        leading,
        accumulate,
        depth: DEPTH,
    };
    // SAFETY: the assertions above keep every access inside its slice, and `tier()` never exceeds the CPU.
    unsafe {
        match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => avx512(extent, call, out.as_mut_ptr()),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => avx2(extent, call, out.as_mut_ptr()),
            _ => strips::<Portable, 4, 1>(extent, call, out.as_mut_ptr()),
        }
    }
}

/// Operands of a strip, as pointers: element (r, p) of `a` at `r·a_row + p·a_depth`, (p, j) of `b` at `p·b_leading + j`.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub a: *const f32,
    pub a_row: usize,
    pub a_depth: usize,
    pub b: *const f32,
    pub b_leading: usize,
    /// Distance between rows of the output.
    pub leading: usize,
    pub accumulate: bool,
    /// Rows of `b` taken at a time.
    pub depth: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn avx512(extent: Extent, call: Call, out: *mut f32) {
    // SAFETY: as the caller's.
    unsafe { strips::<__m512, 6, 4>(extent, call, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(extent: Extent, call: Call, out: *mut f32) {
    // SAFETY: as the caller's.
    unsafe { strips::<__m256, 6, 2>(extent, call, out) }
}

/// Cuts k into blocks, and n into strips of `COLS` vectors, then of two, of one, and single columns.
#[inline(always)]
#[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
unsafe fn strips<L: Lanes, const ROWS: usize, const COLS: usize>(extent: Extent, call: Call, out: *mut f32) {
    let mut depth = 0;
    loop {
        let k = call.depth.min(extent.k - depth);
        let accumulate = call.accumulate || depth > 0;
        let mut j = 0;
        // SAFETY: j + width ≤ n and depth + k ≤ the whole k, so the offsets stay inside the checked extents.
        unsafe {
            while j < extent.n {
                let a = call.a.add(depth * call.a_depth);
                let block = Call { a, b: call.b.add(depth * call.b_leading + j), accumulate, ..call };
                let left = extent.n - j;
                if left >= COLS * L::LANES {
                    strip::<L, ROWS, COLS>(extent.m, k, block, out.add(j));
                    j += COLS * L::LANES;
                } else if left >= 2 * L::LANES {
                    strip::<L, ROWS, 2>(extent.m, k, block, out.add(j));
                    j += 2 * L::LANES;
                } else if left >= L::LANES {
                    strip::<L, ROWS, 1>(extent.m, k, block, out.add(j));
                    j += L::LANES;
                } else {
                    column(extent.m, k, block, out.add(j));
                    j += 1;
                }
            }
        }
        depth += k;
        if depth == extent.k {
            return;
        }
    }
}

/// All rows of one strip of columns, `ROWS` at a time.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
unsafe fn strip<L: Lanes, const ROWS: usize, const COLS: usize>(m: usize, k: usize, call: Call, out: *mut f32) {
    let mut row = 0;
    // SAFETY: rows row..row + ROWS are below m.
    unsafe {
        while row + ROWS <= m {
            block::<L, ROWS, COLS>(k, Call { a: call.a.add(row * call.a_row), ..call }, out.add(row * call.leading));
            row += ROWS;
        }
        while row + 2 <= m {
            block::<L, 2, COLS>(k, Call { a: call.a.add(row * call.a_row), ..call }, out.add(row * call.leading));
            row += 2;
        }
        if row < m {
            block::<L, 1, COLS>(k, Call { a: call.a.add(row * call.a_row), ..call }, out.add(row * call.leading));
        }
    }
}

/// `ROWS` × `COLS` vectors of sums, kept in registers.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
unsafe fn block<L: Lanes, const ROWS: usize, const COLS: usize>(k: usize, call: Call, out: *mut f32) {
    // SAFETY: the caller's block lies inside the checked extents.
    unsafe {
        let mut sums = [[L::splat(0.0); COLS]; ROWS];
        for p in 0..k {
            let mut right = [L::splat(0.0); COLS];
            for (j, right) in right.iter_mut().enumerate() {
                *right = L::load(call.b.add(p * call.b_leading + j * L::LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = L::splat(*call.a.add(r * call.a_row + p * call.a_depth));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let to = out.add(r * call.leading + j * L::LANES);
                let sum = if call.accumulate { sum.add(L::load(to)) } else { sum };
                sum.store(to);
            }
        }
    }
}

/// One column, where fewer are left than a vector holds.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
unsafe fn column(m: usize, k: usize, call: Call, out: *mut f32) {
    for row in 0..m {
        // SAFETY: row < m and p < k: inside the checked extents.
        unsafe {
            let to = out.add(row * call.leading);
            let mut sum = 0.0;
            for p in 0..k {
                sum += *call.a.add(row * call.a_row + p * call.a_depth) * *call.b.add(p * call.b_leading);
            }
            *to = if call.accumulate { *to + sum } else { sum };
        }
    }
}
