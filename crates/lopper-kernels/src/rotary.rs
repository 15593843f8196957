//! Rotary position embedding, in place.
//!
//! At position p, a pair of entries of a head turns by the angle whose cosine and sine are given: (a, b) → (a·c − b·s, b·c + a·s).
//! J. Su et al., `RoFormer`, 2021, arXiv:2104.09864, eq. 34.

use crate::dispatch::{simd, tier};
use rayon::prelude::*;

/// Rows per parallel task.
const ROWS: usize = 16;

/// Which entries of a head turn together, of the `d` that do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPairs {
    /// Entries i and i + d/2, as in GPT-NeoX and Llama.
    Halves,
    /// Entries 2i and 2i + 1, as in the paper and GPT-J.
    Neighbours,
}

simd! {
    fn rotate_neighbours(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
        for head in row.chunks_exact_mut(head_dim) {
            for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                let (x, y, sin) = (pair[0], pair[1], sin * sign);
                pair[0] = x * cos - y * sin;
                pair[1] = y * cos + x * sin;
            }
        }
    }
    fn rotate_halves(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        for head in row.chunks_exact_mut(head_dim) {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                let (x, y, sin) = (*a, *b, sin * sign);
                *a = x * cos - y * sin;
                *b = y * cos + x * sin;
            }
        }
    }
}

/// Rotates every head of `x`, `[tokens, heads·head_dim]`, by its token's position in its sequence.
///
/// Sequence s is rows `offsets[s]..offsets[s + 1]`, and a row's position is counted from the start of its sequence. `cos` and `sin`
/// are `[positions, rotary_dim / 2]`; entries past `rotary_dim` of a head stay. `inverse` turns the other way: the transposed rotation,
/// which is the backward pass.
///
/// # Panics
///
/// If `offsets` does not run from 0 without decreasing, if `x` is not whole rows of whole heads, if `rotary_dim` is odd or exceeds
/// `head_dim`, or if `cos` or `sin` are too short for the longest sequence.
#[allow(clippy::too_many_arguments, reason = "two tables, a layout and a direction; a struct would only rename them")]
pub fn rotate(
    x: &mut [f32],
    head_dim: usize,
    offsets: &[usize],
    cos: &[f32],
    sin: &[f32],
    rotary_dim: usize,
    pairs: RotaryPairs,
    inverse: bool,
) {
    let tokens = check_offsets("rotate", offsets);
    assert!(
        rotary_dim <= head_dim && rotary_dim.is_multiple_of(2),
        "rotate: rotary_dim {rotary_dim} of head_dim {head_dim}"
    );
    let half = rotary_dim / 2;
    let longest = offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    assert!(
        cos.len() >= longest * half && sin.len() >= longest * half,
        "rotate: tables shorter than the longest sequence, {longest}"
    );
    if tokens == 0 || x.is_empty() || half == 0 {
        return;
    }
    let width = x.len() / tokens;
    assert!(
        width * tokens == x.len() && width.is_multiple_of(head_dim),
        "rotate: x is not {tokens} rows of heads of {head_dim}"
    );
    let (tier, sign) = (tier(), if inverse { -1.0 } else { 1.0 });
    x.par_chunks_mut(width * ROWS).enumerate().for_each(|(chunk, rows)| {
        for (i, row) in rows.chunks_mut(width).enumerate() {
            let start = position(offsets, chunk * ROWS + i) * half;
            let (cos, sin) = (&cos[start..start + half], &sin[start..start + half]);
            match pairs {
                RotaryPairs::Halves => rotate_halves(tier, row, head_dim, cos, sin, sign),
                RotaryPairs::Neighbours => rotate_neighbours(tier, row, head_dim, cos, sin, sign),
            }
        }
    });
}

/// Where `row` stands in its sequence.
fn position(offsets: &[usize], row: usize) -> usize {
    row - offsets[offsets.partition_point(|start| *start <= row) - 1]
}

/// Asserts that `offsets` starts at 0 and does not decrease; returns the number of rows.
pub(crate) fn check_offsets(kernel: &str, offsets: &[usize]) -> usize {
    assert!(offsets.first() == Some(&0), "{kernel}: offsets must start with 0");
    assert!(offsets.is_sorted(), "{kernel}: offsets must not decrease");
    offsets[offsets.len() - 1]
}
