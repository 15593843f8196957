//! Matrix products: f32 by [`crate::gemm_f32`] on AVX-512 and by the crate of that name elsewhere, bf16 by [`crate::gemm_bf16`].
//!
//! The crate splits its work into tiles of the output, accumulates each element in one task along k in blocks whose size depends on the
//! shape only, and keeps skinny products on one thread, so its results do not depend on the number of threads (tested here).

use crate::buffer::zeros;
#[cfg(target_arch = "x86_64")]
use crate::dispatch::{Tier, tier};
use crate::gemm_bf16;
#[cfg(target_arch = "x86_64")]
use crate::gemm_f32;

/// What the operands of a product are rounded to. Sums are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Operands as they are.
    F32,
    /// Both operands rounded to bf16 (nearest even), as automatic mixed precision does.
    Bf16,
}

/// A matrix of logical shape `[rows, cols]` inside a slice.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Element (r, c) is at `r·leading + c`, or at `c·leading + r` if `transposed`.
    pub data: &'a [f32],
    /// Logical rows.
    pub rows: usize,
    /// Logical columns.
    pub cols: usize,
    /// Distance between stored rows.
    pub leading: usize,
    /// Whether the stored rows are the logical columns.
    pub transposed: bool,
}

impl<'a> View<'a> {
    /// A contiguous row-major `[rows, cols]` matrix.
    ///
    /// # Panics
    ///
    /// If `data` is too short.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// A row-major `[rows, cols]` matrix whose rows start `leading` apart.
    ///
    /// # Panics
    ///
    /// If `data` is too short or rows overlap.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, leading: usize) -> Self {
        let view = Self { data, rows, cols, leading, transposed: false };
        view.check("View");
        view
    }

    /// The transposed matrix, on the same data.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// Distances between neighbours along a column and along a row.
    pub(crate) fn strides(&self) -> (usize, usize) {
        if self.transposed { (1, self.leading) } else { (self.leading, 1) }
    }

    fn check(&self, kernel: &str) {
        let (rows, cols) = if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
        check_extent(kernel, self.data.len(), rows, cols, self.leading);
    }
}

/// `out[m, n] = a · b`, or `out +=` that if `accumulate`; `out` is row-major with rows `out_leading` apart.
///
/// # Panics
///
/// If the shapes contradict each other or a slice is too short for its shape.
pub fn matmul(out: &mut [f32], out_leading: usize, accumulate: bool, a: View, b: View, precision: Precision) {
    let (m, n) = (a.rows, b.cols);
    assert_eq!(a.cols, b.rows, "matmul: [{}, {}] · [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    a.check("matmul: left operand");
    b.check("matmul: right operand");
    check_extent("matmul: out", out.len(), m, n, out_leading);
    if m == 0 || n == 0 {
        return;
    }
    if a.cols == 0 {
        if !accumulate {
            (0..m).for_each(|row| out[row * out_leading..][..n].fill(0.0));
        }
        return;
    }
    match precision {
        Precision::F32 => single(out, out_leading, accumulate, a, b),
        Precision::Bf16 => gemm_bf16::multiply(out, out_leading, accumulate, a, b),
    }
}

/// `a · b` in a new buffer `[m, n]`.
///
/// # Panics
///
/// If the shapes contradict each other or a slice is too short for its shape.
pub fn product(a: View, b: View, precision: Precision) -> Vec<f32> {
    let length = a.rows * b.cols;
    if precision != Precision::F32 || a.cols == 0 {
        let mut out = zeros(length);
        matmul(&mut out, b.cols, false, a, b, precision);
        return out;
    }
    assert_eq!(a.cols, b.rows, "product: [{}, {}] · [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    a.check("product: left operand");
    b.check("product: right operand");
    let mut out = Vec::with_capacity(length);
    // SAFETY: both operands were checked above; the capacity is the product's length, rows lie `b.cols` apart, and without
    // `accumulate` every element is written and none is read.
    unsafe {
        multiply_f32(out.as_mut_ptr(), b.cols, false, a, b);
        out.set_len(length);
    }
    out
}

/// The f32 product of checked operands.
pub(crate) fn single(out: &mut [f32], out_leading: usize, accumulate: bool, a: View, b: View) {
    // SAFETY: `matmul` checked that every element of the three matrices lies inside its slice, rows of `out` do not overlap, and `out`
    // is borrowed mutably, so it aliases neither operand.
    unsafe { multiply_f32(out.as_mut_ptr(), out_leading, accumulate, a, b) }
}

/// # Safety
///
/// Every element of `a` and `b` must lie inside its slice, and `[a.rows, b.cols]` elements in rows `out_leading` apart must be valid for
/// writes at `out` (for reads too if `accumulate`), alias neither operand, and not overlap.
unsafe fn multiply_f32(out: *mut f32, out_leading: usize, accumulate: bool, a: View, b: View) {
    #[cfg(target_arch = "x86_64")]
    if tier() == Tier::Avx512 && gemm_f32::pays(a.rows, b.cols, a.cols) {
        // SAFETY: the CPU has the instructions, the caller checked the operands, and promises the same of the output.
        return unsafe { gemm_f32::multiply(out, out_leading, accumulate, a, b) };
    }
    let (a_row, a_col) = a.strides();
    let (b_row, b_col) = b.strides();
    let (a_row, a_col, b_row, b_col) =
        (a_row.cast_signed(), a_col.cast_signed(), b_row.cast_signed(), b_col.cast_signed());
    // it works on columns: the transpose of the product is bᵀ·aᵀ
    // SAFETY: the caller's promise is what `gemm` asks for.
    unsafe {
        ::gemm_f32::gemm::f32::get_gemm_fn()(
            b.cols,
            a.rows,
            a.cols,
            out,
            out_leading.cast_signed(),
            1,
            accumulate,
            b.data.as_ptr(),
            b_row,
            b_col,
            a.data.as_ptr(),
            a_row,
            a_col,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::Rayon(0),
        );
    }
}

/// Asserts that `rows` rows of `cols`, `leading` apart, neither overlap nor leave a slice of `length`.
fn check_extent(kernel: &str, length: usize, rows: usize, cols: usize, leading: usize) {
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(rows == 1 || leading >= cols, "{kernel}: rows of {cols} overlap at a distance of {leading}");
    let extent = (rows - 1).checked_mul(leading).and_then(|start| start.checked_add(cols));
    assert!(
        extent.is_some_and(|extent| extent <= length),
        "{kernel}: [{rows}, {cols}] at a distance of {leading} in {length} elements"
    );
}
