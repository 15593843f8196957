//! The f32 product on AVX-512, with as little packing as the tile allows, so that nearly all of the time goes to multiplying.
//!
//! The right operand is copied to panels `[block of k][panel][depth][COLS]`, once for all threads. Of the left operand, which the tile
//! broadcasts element by element, only a transposed one is copied, a few rows at a time, so that its columns lie close together.
//!
//! k is cut into equal blocks of at most [`DEPTH`]; an element of the output is summed in order within a block, and the sums of blocks
//! are added in order. The cut of rows and columns into tasks therefore does not show in the result.

mod turn;

use crate::gemm::View;
use crate::scratch::with_scratch;
use crate::tile::{Call, Extent, avx512};
use rayon::prelude::*;
use std::ops::Range;
use turn::turn;

/// Columns of a panel: four registers.
const COLS: usize = 64;
/// Most rows of a panel. With the rows of a task, it stays in the second-level cache.
const DEPTH: usize = 576;
/// Rows of the output that a task has at a time: a multiple of the rows of a tile.
const HEIGHT: usize = 48;
/// Most floats of the right operand that are packed at a time: they stay in the third-level cache.
const PACKED: usize = 2 << 20;

/// Whether a product of this shape is worth packing.
pub(crate) fn pays(m: usize, n: usize, k: usize) -> bool {
    m >= HEIGHT && n >= COLS / 2 && k >= 16
}

/// `out (+)= a · b`.
///
/// # Safety
///
/// The CPU must have AVX-512 (F, BW, DQ, VL), the extents of both operands must lie inside their slices, no dimension may be 0, and
/// `out` must be valid as [`crate::gemm`] says.
pub(crate) unsafe fn multiply(out: *mut f32, out_leading: usize, accumulate: bool, a: View, b: View) {
    let (k, n) = (b.rows, b.cols);
    let depth = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(16).min(k);
    let most = (PACKED / k).max(COLS) / COLS * COLS;
    for first in (0..n).step_by(most) {
        let columns = first..n.min(first + most);
        let panels = columns.len().div_ceil(COLS);
        with_scratch(panels * COLS * k, |right| {
            pack(b, &columns, depth, right);
            let product = Product { a, right, columns, panels, depth, out: Output(out), out_leading, accumulate };
            // SAFETY: as the caller's; tasks cover disjoint parts of the output.
            product
                .tasks()
                .into_par_iter()
                .with_max_len(1)
                .for_each(|(rows, panels)| unsafe { product.run(rows, panels) });
        });
    }
}

/// Where tasks write, each its own elements.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: the tasks of a product write disjoint elements, of memory that the caller lends for the time of the product.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// Packs columns of the right operand; what a panel has beyond them is zero.
fn pack(b: View, columns: &Range<usize>, depth: usize, right: &mut [f32]) {
    let panels = columns.len().div_ceil(COLS);
    let (along, across) = b.strides();
    let blocks = right.chunks_mut(depth * panels * COLS).enumerate().flat_map(|(block, packed)| {
        let height = packed.len() / (panels * COLS);
        packed.chunks_mut(height * COLS).enumerate().map(move |(panel, out)| (block * depth, panel, out))
    });
    blocks.collect::<Vec<_>>().into_par_iter().with_min_len(2).for_each(|(start, panel, out)| {
        let first = columns.start + panel * COLS;
        let width = COLS.min(columns.end - first);
        let data = &b.data[start * along + first * across..];
        if b.transposed {
            turn(data, across, width, out);
        } else {
            for (row, out) in out.chunks_exact_mut(COLS).enumerate() {
                out[..width].copy_from_slice(&data[row * along..][..width]);
                out[width..].fill(0.0);
            }
        }
    });
}

/// A product with some columns of the right operand, packed.
struct Product<'a> {
    a: View<'a>,
    right: &'a [f32],
    columns: Range<usize>,
    panels: usize,
    depth: usize,
    out: Output,
    out_leading: usize,
    accumulate: bool,
}

impl Product<'_> {
    /// Blocks of rows, and of panels too where rows alone are too few for the threads.
    fn tasks(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let heights = self.a.rows.div_ceil(HEIGHT);
        let width = self.panels.div_ceil((4 * rayon::current_num_threads()).div_ceil(heights));
        let rows = (0..self.a.rows).step_by(HEIGHT).map(|row| row..self.a.rows.min(row + HEIGHT));
        let panels = (0..self.panels).step_by(width).map(|panel| panel..self.panels.min(panel + width));
        rows.flat_map(|rows| panels.clone().map(move |panels| (rows.clone(), panels))).collect()
    }

    /// Some rows of the left operand, block by block along k, times some panels.
    unsafe fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        let (a_row, a_depth) = self.a.strides();
        let packed = if self.a.transposed { self.depth * HEIGHT } else { 0 };
        with_scratch(packed, |left| {
            for start in (0..self.a.cols).step_by(self.depth) {
                let depth = self.depth.min(self.a.cols - start);
                let data = &self.a.data[rows.start * a_row + start * a_depth..];
                let (a, a_row, a_depth) = if self.a.transposed {
                    for (left, data) in left.chunks_exact_mut(HEIGHT).zip(data.chunks(a_depth)).take(depth) {
                        left[..rows.len()].copy_from_slice(&data[..rows.len()]);
                    }
                    (left.as_ptr(), 1, HEIGHT)
                } else {
                    (data.as_ptr(), a_row, a_depth)
                };
                for panel in panels.clone() {
                    let b = &self.right[(start * self.panels + panel * depth) * COLS..][..depth * COLS];
                    let accumulate = self.accumulate || start > 0;
                    let leading = self.out_leading;
                    let call = Call { a, a_row, a_depth, b: b.as_ptr(), b_leading: COLS, leading, accumulate, depth };
                    // SAFETY: as the caller's; the packed operands hold `depth` rows, and the panel's columns are inside the output.
                    unsafe { self.panel(rows.clone(), panel, depth, call) };
                }
            }
        });
    }

    /// One panel; through a buffer where it ends inside a register.
    unsafe fn panel(&self, rows: Range<usize>, panel: usize, k: usize, call: Call) {
        let first = self.columns.start + panel * COLS;
        let width = COLS.min(self.columns.end - first);
        // SAFETY: the rows and columns lie inside the output, and belong to this task alone.
        unsafe {
            let out = self.out.0.add(rows.start * self.out_leading + first);
            if width.is_multiple_of(16) {
                return avx512(Extent { m: rows.len(), n: width, k }, call, out);
            }
            let mut buffer = [0f32; HEIGHT * COLS];
            let whole = Call { leading: COLS, accumulate: false, ..call };
            avx512(Extent { m: rows.len(), n: width.next_multiple_of(16), k }, whole, buffer.as_mut_ptr());
            for (row, buffer) in buffer.chunks_exact(COLS).enumerate().take(rows.len()) {
                for (j, sum) in buffer[..width].iter().enumerate() {
                    let out = out.add(row * self.out_leading + j);
                    *out = if call.accumulate { *sum + *out } else { *sum };
                }
            }
        }
    }
}
