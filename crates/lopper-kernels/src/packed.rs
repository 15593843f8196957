//! Copies of keys and values laid out for the tile products of attention.

use crate::attention_shape::{AttentionShape, PANEL};
use rayon::prelude::*;
use std::ops::Range;

/// Keys or values transposed in panels: `[sequence][kv head][panel][head_dim][PANEL]`, the last panel padded with zeros.
pub(crate) struct Panels {
    data: Vec<f32>,
    /// First float of each sequence, and one past the last.
    starts: Vec<usize>,
    kv_heads: usize,
}

impl Panels {
    /// The panels of one head of a sequence, each `head_dim · PANEL` floats.
    pub(crate) fn head(&self, sequence: usize, head: usize) -> &[f32] {
        let size = (self.starts[sequence + 1] - self.starts[sequence]) / self.kv_heads;
        &self.data[self.starts[sequence] + head * size..][..size]
    }
}

/// Packs `x` `[tokens, kv_heads·head_dim]` into panels.
pub(crate) fn panels(shape: &AttentionShape, x: &[f32]) -> Panels {
    let sizes: Vec<usize> = lengths(shape).map(|length| length.next_multiple_of(PANEL) * shape.head_dim).collect();
    let mut starts = vec![0];
    for size in &sizes {
        starts.push(starts[starts.len() - 1] + size * shape.kv_heads);
    }
    let mut data = vec![0.0; starts[sizes.len()]];
    let (mut rest, mut tasks) = (data.as_mut_slice(), Vec::new());
    for (sequence, size) in sizes.iter().enumerate() {
        for head in 0..shape.kv_heads {
            let (mine, others) = rest.split_at_mut(*size);
            rest = others;
            let rows = shape.offsets[sequence]..shape.offsets[sequence + 1];
            let columns = mine.chunks_mut((PANEL * shape.head_dim).max(1)).enumerate();
            tasks.extend(columns.map(|(panel, out)| {
                (out, rows.start + panel * PANEL..rows.end.min(rows.start + (panel + 1) * PANEL), head)
            }));
        }
    }
    tasks.into_par_iter().for_each(|(out, rows, head)| transpose_panel(shape, x, rows, head, out));
    Panels { data, starts, kv_heads: shape.kv_heads }
}

fn transpose_panel(shape: &AttentionShape, x: &[f32], rows: Range<usize>, head: usize, out: &mut [f32]) {
    let width = shape.kv_heads * shape.head_dim;
    for (d, out) in out.chunks_exact_mut(PANEL).enumerate() {
        for (out, row) in out.iter_mut().zip(rows.clone()) {
            *out = x[row * width + head * shape.head_dim + d];
        }
    }
}

/// Rows gathered by head: `[kv head][tokens][head_dim]`, so that the rows of a head are contiguous.
pub(crate) struct ByHead {
    data: Vec<f32>,
    tokens: usize,
    head_dim: usize,
}

impl ByHead {
    /// The rows of `head` from row `start` of the batch on.
    pub(crate) fn head(&self, start: usize, head: usize) -> &[f32] {
        &self.data[(head * self.tokens + start) * self.head_dim..(head + 1) * self.tokens * self.head_dim]
    }
}

/// Gathers `x` `[tokens, kv_heads·head_dim]` by head.
pub(crate) fn by_head(shape: &AttentionShape, x: &[f32]) -> ByHead {
    let (tokens, head_dim) = (shape.tokens(), shape.head_dim);
    let mut data = vec![0.0; x.len()];
    if !x.is_empty() {
        data.par_chunks_mut(tokens * head_dim).enumerate().for_each(|(head, out)| {
            gather_rows(x, shape.kv_heads * head_dim, 0..tokens, head * head_dim, out, head_dim);
        });
    }
    ByHead { data, tokens, head_dim }
}

/// Copies `head_dim` columns from `column` on, of some rows of a matrix of `width` columns, to contiguous rows.
pub(crate) fn gather_rows(
    x: &[f32],
    width: usize,
    rows: Range<usize>,
    column: usize,
    out: &mut [f32],
    head_dim: usize,
) {
    for (out, row) in out.chunks_exact_mut(head_dim).zip(rows) {
        out.copy_from_slice(&x[row * width + column..][..head_dim]);
    }
}

fn lengths(shape: &AttentionShape) -> impl Iterator<Item = usize> {
    shape.offsets.windows(2).map(|pair| pair[1] - pair[0])
}
