//! Causal attention with grouped queries over a ragged batch, without storing the scores.
//!
//! `o[t] = Σ_{s ≤ t} p[t, s]·v[s]` with `p[t, s] = exp(scale·q[t]·k[s] − ℓ[t])` and `ℓ[t] = log Σ_{s ≤ t} exp(scale·q[t]·k[s])`. Saving ℓ
//! alone lets the backward pass recompute p, as in T. Dao et al., `FlashAttention`, 2022, arXiv:2205.14135, §3.1. A tile of [`QUERIES`] queries meets its keys
//! in blocks of [`KEYS`], whose scores fit the second-level cache, and carries the maximum and the sum from block to block (algorithm 1
//! there), so scratch memory does not grow with the sequence. A sink of a head is where both begin.

use crate::attention_shape::{AttentionShape, PANEL, QUERIES, Tile};
use crate::dispatch::{Tier, simd, tier};
use crate::math::{self, exp, larger};
use crate::packed::{ByHead, Panels, by_head, panels};
use crate::scratch::{Shared, with_scratch};
use crate::tile::{Extent, Left, Right, multiply};
use rayon::prelude::*;
use std::ops::Range;

/// Keys per block.
const KEYS: usize = 512;

simd! {
    /// Replaces the scores in `columns` of a row by exp(scale·(s − m)), where m is the larger of `largest` and their maximum, and
    /// everything else by 0; returns (m, Σ). The row is whole vectors of 16: those at the ends of `columns` are padded with a score too
    /// small to count.
    fn exponentiate_row(row: &mut [f32], columns: Range<usize>, scale: f32, largest: f32) -> (f32, f32) {
        let aligned = columns.start / 16 * 16..columns.end.next_multiple_of(16);
        row[aligned.start..columns.start].fill(f32::MIN);
        row[columns.end..aligned.end].fill(f32::MIN);
        let mut maxima = [largest; 16];
        for scores in row[aligned.clone()].chunks_exact(16) {
            for (largest, score) in maxima.iter_mut().zip(scores) {
                *largest = larger(*score, *largest);
            }
        }
        let largest = math::largest(maxima);
        let mut sums = [0f32; 16];
        for scores in row[aligned].chunks_exact_mut(16) {
            for (sum, score) in sums.iter_mut().zip(scores) {
                *score = exp::<FUSED>((*score - largest) * scale);
                *sum += *score;
            }
        }
        row[..columns.start].fill(0.0);
        row[columns.end..].fill(0.0);
        (largest, math::sum(sums))
    }
    fn scale_row(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
    fn store_scaled(row: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(row) {
            *out = x * factor;
        }
    }
}

/// Causal attention of `q` `[tokens, heads·head_dim]` over `k` and `v` `[tokens, kv_heads·head_dim]`, each sequence by itself.
///
/// Writes `out` `[tokens, heads·head_dim]` and `log_sum_exp` `[tokens, heads]`, the natural logarithm of each softmax's denominator,
/// which [`crate::attention_backward`] needs.
///
/// # Panics
///
/// If the lengths contradict the shape, if `offsets` does not run from 0 without decreasing, if `kv_heads` does not divide `heads`, if
/// `scale` is not positive or the window is 0.
pub fn attention(shape: &AttentionShape, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], log_sum_exp: &mut [f32]) {
    shape.check("attention", q, k, v);
    assert_eq!(out.len(), q.len(), "attention: out and q differ in length");
    assert_eq!(log_sum_exp.len(), shape.tokens() * shape.heads, "attention: log_sum_exp is not [tokens, heads]");
    let (keys, values) = (panels(shape, k), by_head(shape, v));
    let (out, log_sum_exp) = (Shared::new(out), Shared::new(log_sum_exp));
    let forward = Forward { tier: tier(), shape, q, keys, values, out, log_sum_exp };
    let tiles: Vec<Tile> = shape.sequence_heads().flat_map(|(sequence, head)| shape.tiles(sequence, head)).collect();
    tiles.into_par_iter().with_max_len(1).for_each(|tile| forward.run(&tile));
}

/// What the tiles of a forward pass share.
struct Forward<'a> {
    tier: Tier,
    shape: &'a AttentionShape<'a>,
    q: &'a [f32],
    keys: Panels,
    values: ByHead,
    out: Shared<'a, f32>,
    log_sum_exp: Shared<'a, f32>,
}

/// The softmax of one row so far: the largest score and Σ exp(scale·(s − largest)).
#[derive(Clone, Copy)]
struct Softmax {
    largest: f32,
    sum: f32,
}

/// Scratch of one tile.
struct Workspace<'a> {
    /// Scores, then their exponentials: `[QUERIES, keys]`.
    scores: &'a mut [f32],
    /// Σ exp(scale·(s − largest))·v so far: `[QUERIES, head_dim]`.
    mixed: &'a mut [f32],
}

impl Forward<'_> {
    fn run(&self, tile: &Tile) {
        let (shape, d) = (self.shape, self.shape.head_dim);
        with_scratch(QUERIES * (leading(KEYS) + d), |scratch| {
            let (scores, mixed) = scratch.split_at_mut(QUERIES * leading(KEYS));
            mixed.fill(0.0);
            let mut softmax = [self.beginning(tile.head); QUERIES];
            let mut workspace = Workspace { scores, mixed };
            // from the start of a panel on
            for start in (shape.visible(tile.queries.start).start / PANEL * PANEL..tile.queries.end).step_by(KEYS) {
                self.absorb(tile, &(start..tile.queries.end.min(start + KEYS)), &mut workspace, &mut softmax);
            }
            self.store(tile, workspace.mixed, &softmax);
        });
    }

    /// The softmax before any key: of the sink alone, if there is one.
    fn beginning(&self, head: usize) -> Softmax {
        let sink = self.shape.sinks.get(head);
        let none = Softmax { largest: f32::MIN, sum: 0.0 };
        sink.map_or(none, |sink| Softmax { largest: sink / self.shape.remaining_scale(), sum: 1.0 })
    }

    /// Takes one block of keys into the softmax and the mixed values of a tile.
    fn absorb(&self, tile: &Tile, block: &Range<usize>, workspace: &mut Workspace, softmax: &mut [Softmax]) {
        let Workspace { scores, mixed } = workspace;
        let (shape, d, key_head) = (self.shape, self.shape.head_dim, tile.head / self.shape.group());
        let (rows, leading) = (tile.queries.len(), leading(block.len()));
        let first = (tile.start + tile.queries.start) * shape.heads + tile.head;
        let queries = Left { data: &self.q[first * d..], row: shape.heads * d, depth: 1 };
        score(self.tier, d, rows, queries, self.keys.head(tile.sequence, key_head), block, scores);
        let rows_of_scores = scores.chunks_mut(leading).zip(mixed.chunks_mut(d)).zip(softmax);
        let scale = shape.remaining_scale();
        let rows_of_scores = tile.queries.clone().zip(shape.columns(&tile.queries, block).zip(rows_of_scores));
        for (t, (columns, ((scores, mixed), softmax))) in rows_of_scores {
            shape.adjust(self.tier, &mut scores[columns.clone()], tile.head, t - (block.start + columns.start).min(t));
            let (largest, sum) = exponentiate_row(self.tier, scores, columns, scale, softmax.largest);
            if largest > softmax.largest && softmax.sum > 0.0 {
                let factor = ((softmax.largest - largest) * scale).exp();
                scale_row(self.tier, mixed, factor);
                softmax.sum *= factor;
            }
            *softmax = Softmax { largest, sum: softmax.sum + sum };
        }
        let values = Right { data: &self.values.head(tile.start, key_head)[block.start * d..], leading: d };
        let exponentials = Left { data: scores, row: leading, depth: 1 };
        multiply(self.tier, Extent { m: rows, n: d, k: block.len() }, exponentials, values, mixed, d, true);
    }

    /// Divides by the sums and writes the rows of a tile to their places.
    fn store(&self, tile: &Tile, mixed: &[f32], softmax: &[Softmax]) {
        let (shape, d) = (self.shape, self.shape.head_dim);
        for (t, (mixed, softmax)) in tile.queries.clone().zip(mixed.chunks(d).zip(softmax)) {
            let entry = (tile.start + t) * shape.heads + tile.head;
            // SAFETY: no two tiles have a (row, head) in common.
            let (out, saved) = unsafe { (self.out.slice(entry * d, d), self.log_sum_exp.slice(entry, 1)) };
            store_scaled(self.tier, mixed, 1.0 / softmax.sum, out);
            saved[0] = softmax.largest * shape.remaining_scale() + softmax.sum.ln();
        }
    }
}

/// Distance between the rows of scores of `keys` keys: whole panels, and a cache line more, lest a column of scores fall into few sets
/// of the cache.
pub(crate) fn leading(keys: usize) -> usize {
    keys.next_multiple_of(PANEL) + 16
}

/// `scores[rows, block] = queries[rows, d] · panelsᵀ`, a panel at a time; the block starts with a panel, and the rows of `scores` are
/// [`leading`] apart.
pub(crate) fn score(
    tier: Tier,
    d: usize,
    rows: usize,
    queries: Left,
    panels: &[f32],
    block: &Range<usize>,
    scores: &mut [f32],
) {
    let panels = panels.chunks_exact(PANEL * d).skip(block.start / PANEL);
    for (column, panel) in (0..block.len()).step_by(PANEL).zip(panels) {
        // the panel is padded with zeros, so whole vectors of 16 columns may be computed
        let n = PANEL.min((block.len() - column).next_multiple_of(16));
        let panel = Right { data: panel, leading: PANEL };
        multiply(tier, Extent { m: rows, n, k: d }, queries, panel, &mut scores[column..], leading(block.len()), false);
    }
}
