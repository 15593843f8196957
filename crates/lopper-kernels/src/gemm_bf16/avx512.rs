//! The product on AVX512-BF16: operands packed to pairs of bf16, tiles of 8 × 48 sums in registers.
//!
//! k is taken in blocks of [`DEPTH`]; within one, an element of the output is summed two products at a time, in order, and block sums are
//! added to the output in order. The cut of rows and columns into tasks therefore does not show in the result.

mod pack;

use crate::gemm::View;
use crate::scratch::Shared;
use pack::{Strip, pack};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::cell::Cell;
use std::mem::transmute;
use std::ops::Range;

/// Rows of a tile.
const ROWS: usize = 8;
/// Columns of a tile: three registers.
const COLS: usize = 48;
/// Depth of a block, even: a packed strip of the right operand stays in the first-level cache.
const DEPTH: usize = 384;
/// Most rows that a task packs at a time: with `DEPTH` they stay in the second-level cache.
const BLOCK: usize = 512;
/// Most bytes of the right operand that are packed at a time: they stay in the third-level cache.
const PACKED_BYTES: usize = 8 << 20;

thread_local! {
    static LEFT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static RIGHT: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// `out (+)= a · b`.
///
/// # Safety
///
/// The CPU must have AVX512-BF16, and the extents of the three matrices must lie inside their slices; no dimension may be 0.
pub(super) unsafe fn multiply(out: &mut [f32], out_leading: usize, accumulate: bool, a: View, b: View) {
    let (n, k) = (b.cols, b.rows);
    let most = (PACKED_BYTES / 2 / k).max(COLS) / COLS * COLS;
    let out = Shared::new(out);
    // taken out of the thread's keeping, so that a product stolen by this thread meanwhile gets its own
    let mut right = RIGHT.take();
    for first in (0..n).step_by(most) {
        let columns = first..n.min(first + most);
        let strips = columns.len().div_ceil(COLS);
        // SAFETY: as the caller's.
        unsafe { pack_right(b, &columns, &mut right) };
        let pass = Pass { a, right: &right, columns, strips, out, out_leading, accumulate };
        // SAFETY: as the caller's; the tasks cover disjoint parts of the output.
        pass.tasks().into_par_iter().with_max_len(1).for_each(|(rows, strips)| unsafe { pass.run(rows, strips) });
    }
    RIGHT.set(right);
}

/// Packs columns of the right operand: `[block of k][strip][pair][COLS]`.
unsafe fn pack_right(b: View, columns: &Range<usize>, right: &mut Vec<u32>) {
    let strips = columns.len().div_ceil(COLS);
    let length = b.rows.div_ceil(2) * strips * COLS;
    if right.len() < length {
        right.resize(length, 0);
    }
    let (along, across) = b.strides();
    let blocks = right[..length].chunks_mut(DEPTH / 2 * strips * COLS).enumerate();
    let tasks = blocks.flat_map(|(block, packed)| {
        let depth = DEPTH.min(b.rows - block * DEPTH);
        packed.chunks_mut(depth.div_ceil(2) * COLS).enumerate().map(move |(strip, out)| (block, depth, strip, out))
    });
    tasks.collect::<Vec<_>>().into_par_iter().for_each(|(block, depth, strip, out)| {
        let first = columns.start + strip * COLS;
        let data = &b.data[block * DEPTH * along + first * across..];
        let strip = Strip { data: data.as_ptr(), across, along, width: COLS.min(columns.end - first), depth };
        // SAFETY: the strip lies inside the operand, whose extent was checked.
        unsafe { pack::<COLS>(strip, out) };
    });
}

/// One pass over some columns of the output.
struct Pass<'a> {
    a: View<'a>,
    right: &'a [u32],
    columns: Range<usize>,
    strips: usize,
    out: Shared<'a, f32>,
    out_leading: usize,
    accumulate: bool,
}

impl Pass<'_> {
    /// Blocks of rows, and of strips too where rows alone are too few for the threads.
    fn tasks(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let wanted = 2 * rayon::current_num_threads();
        let height = self.a.rows.div_ceil(wanted).next_multiple_of(ROWS).min(BLOCK);
        let width = self.strips.div_ceil(wanted.div_ceil(self.a.rows.div_ceil(height)));
        let rows = (0..self.a.rows).step_by(height).map(|row| row..self.a.rows.min(row + height));
        let strips = (0..self.strips).step_by(width).map(|strip| strip..self.strips.min(strip + width));
        rows.flat_map(|rows| strips.clone().map(move |strips| (rows.clone(), strips))).collect()
    }

    /// Packs the rows of the left operand, block by block along k, and multiplies them with the strips.
    unsafe fn run(&self, rows: Range<usize>, strips: Range<usize>) {
        let k = self.a.cols;
        let mut left = LEFT.take();
        let length = DEPTH.min(k).div_ceil(2) * rows.len().next_multiple_of(ROWS);
        if left.len() < length {
            left.resize(length, 0);
        }
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            let pairs = depth.div_ceil(2);
            // SAFETY: as the caller's.
            unsafe { self.pack_left(&rows, start, depth, &mut left) };
            for strip in strips.clone() {
                let right = &self.right[(start / 2 * self.strips + strip * pairs) * COLS..][..pairs * COLS];
                for (row, left) in rows.clone().step_by(ROWS).zip(left.chunks_exact(pairs * ROWS)) {
                    // SAFETY: as the caller's.
                    unsafe {
                        self.tile(row..rows.end.min(row + ROWS), strip, left, right, self.accumulate || start > 0);
                    };
                }
            }
        }
        LEFT.set(left);
    }

    unsafe fn pack_left(&self, rows: &Range<usize>, start: usize, depth: usize, left: &mut [u32]) {
        let (across, along) = self.a.strides();
        for (row, out) in rows.clone().step_by(ROWS).zip(left.chunks_exact_mut(depth.div_ceil(2) * ROWS)) {
            let data = &self.a.data[row * across + start * along..];
            // a single row is contiguous along k whatever its stride says, and so is a single column across
            let strip = Strip { data: data.as_ptr(), across, along, width: ROWS.min(rows.end - row), depth };
            // SAFETY: the strip lies inside the operand, whose extent was checked.
            unsafe { pack::<ROWS>(strip, out) };
        }
    }

    /// One tile of the output, through a buffer where the tile sticks out.
    unsafe fn tile(&self, rows: Range<usize>, strip: usize, left: &[u32], right: &[u32], accumulate: bool) {
        let first = self.columns.start + strip * COLS;
        let width = COLS.min(self.columns.end - first);
        let end = (rows.end - 1) * self.out_leading + first + width;
        let out = self.out.pointer(rows.start * self.out_leading + first, end);
        // SAFETY: the tile is inside the output (checked just now) and belongs to this task; the buffer holds a whole tile.
        unsafe {
            if rows.len() == ROWS && width == COLS {
                return kernel::<3>(left, right, out, self.out_leading, accumulate);
            }
            let mut buffer = [0f32; ROWS * COLS];
            match width.div_ceil(16) {
                1 => kernel::<1>(left, right, buffer.as_mut_ptr(), COLS, false),
                2 => kernel::<2>(left, right, buffer.as_mut_ptr(), COLS, false),
                _ => kernel::<3>(left, right, buffer.as_mut_ptr(), COLS, false),
            }
            for (row, buffer) in buffer.chunks_exact(COLS).enumerate().take(rows.len()) {
                for (j, sum) in buffer[..width].iter().enumerate() {
                    let out = out.add(row * self.out_leading + j);
                    *out = if accumulate { *sum + *out } else { *sum };
                }
            }
        }
    }
}

/// `ROWS` × 16·V sums from packed strips, written (or added) to `out`.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn kernel<const V: usize>(left: &[u32], right: &[u32], out: *mut f32, leading: usize, accumulate: bool) {
    // SAFETY: the strips hold whole rows of `ROWS` and `COLS` words; `out` is the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
        for (left, right) in left.chunks_exact(ROWS).zip(right.chunks_exact(COLS)) {
            let mut columns = [transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0)); V];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.as_ptr().add(16 * j).cast()));
            }
            for (sums, pair) in sums.iter_mut().zip(left) {
                let pair = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair.cast_signed()));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = _mm512_dpbf16_ps(*sum, pair, column);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                let to = out.add(row * leading + 16 * j);
                _mm512_storeu_ps(to, if accumulate { _mm512_add_ps(sum, _mm512_loadu_ps(to)) } else { sum });
            }
        }
    }
}
