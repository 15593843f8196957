//! Causal attention with grouped queries over a ragged batch, without storing the scores.
//!
//! oₜ = Σ_{s ≤ t} p_{ts} v_s with p_{ts} = exp(scale·qₜ·k_s − ℓₜ), ℓₜ = log Σ_{s ≤ t} exp(scale·qₜ·k_s). Saving ℓ alone lets the backward
//! pass recompute p, as in T. Dao et al., "FlashAttention", 2022, arXiv:2205.14135, §3.1. Here a tile of queries sees all its keys at
//! once (its scores fit the second-level cache), so the softmax needs no rescaling.

use crate::dispatch::{Tier, simd, tier};
use crate::math::exp;
use crate::packed::{ByHead, Panels, by_head, gather_rows, panels};
use crate::rotary::check_offsets;
use crate::scratch::{Shared, with_scratch};
use crate::tile::{Extent, Left, Right, multiply};
use rayon::prelude::*;
use std::ops::Range;

/// Queries per tile: a multiple of the tile product's six rows.
pub(crate) const QUERIES: usize = 48;
/// Keys per packed panel.
pub(crate) const PANEL: usize = 64;

/// The layout of one attention call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape<'a> {
    /// Sequence s is rows `offsets[s]..offsets[s + 1]` of the token dimension; starts with 0.
    pub offsets: &'a [usize],
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`, and query head h reads key head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Entries per head.
    pub head_dim: usize,
    /// Factor on the scores, usually `head_dim^(−½)`; positive.
    pub scale: f32,
    /// Sliding window: token t sees keys after t − window, at most `window` of them with itself, as Hugging Face's Mistral.
    pub window: Option<usize>,
}

/// Some queries of one head of one sequence.
#[derive(Clone)]
pub(crate) struct Tile {
    pub sequence: usize,
    /// First row of the sequence in the batch.
    pub start: usize,
    pub head: usize,
    /// Positions in the sequence.
    pub queries: Range<usize>,
}

impl AttentionShape<'_> {
    pub(crate) fn tokens(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// Query heads per key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The keys that query `t` of a sequence sees.
    fn visible(&self, t: usize) -> Range<usize> {
        self.window.map_or(0, |window| (t + 1).saturating_sub(window))..t + 1
    }

    /// The keys that a tile sees, from the start of a panel on.
    pub(crate) fn keys(&self, tile: &Tile) -> Range<usize> {
        self.visible(tile.queries.start).start / PANEL * PANEL..tile.queries.end
    }

    /// The columns of a tile's scores that each of its rows sees.
    pub(crate) fn columns(&self, tile: &Tile) -> impl Iterator<Item = Range<usize>> {
        let first = self.keys(tile).start;
        tile.queries.clone().map(move |t| self.visible(t).start - first..t + 1 - first)
    }

    /// The tiles of one head of a sequence, in order.
    pub(crate) fn tiles(&self, sequence: usize, head: usize) -> impl Iterator<Item = Tile> {
        let (start, end) = (self.offsets[sequence], self.offsets[sequence + 1]);
        let firsts = (0..end - start).step_by(QUERIES);
        firsts.map(move |first| Tile { sequence, start, head, queries: first..(end - start).min(first + QUERIES) })
    }

    /// The longest row of scores that a tile needs, in whole panels.
    pub(crate) fn widest(&self) -> usize {
        let longest = self.offsets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let seen = self.window.map_or(longest, |window| longest.min(window.saturating_add(QUERIES + PANEL)));
        seen.next_multiple_of(PANEL)
    }

    /// Asserts what the fields promise and the lengths of queries, keys and values.
    pub(crate) fn check(&self, kernel: &str, q: &[f32], k: &[f32], v: &[f32]) {
        let tokens = check_offsets(kernel, self.offsets);
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), "{kernel}: kv_heads must divide heads");
        assert!(self.head_dim > 0, "{kernel}: heads of no entries");
        assert!(self.scale > 0.0 && self.scale.is_finite(), "{kernel}: scale must be positive");
        assert!(self.window != Some(0), "{kernel}: a window of no keys");
        assert_eq!(q.len(), tokens * self.heads * self.head_dim, "{kernel}: q is not [tokens, heads·head_dim]");
        assert_eq!(k.len(), tokens * self.kv_heads * self.head_dim, "{kernel}: k is not [tokens, kv_heads·head_dim]");
        assert_eq!(v.len(), k.len(), "{kernel}: k and v differ in length");
    }
}

simd! {
    /// Replaces the scores in `columns` of a row by exp(scale·(s − max)) and everything else by 0; returns (Σ, log Σ exp(scale·s)).
    /// The row is whole vectors of 16: those at the ends of `columns` are padded with a score too small to count.
    fn exponentiate_row(row: &mut [f32], columns: Range<usize>, scale: f32) -> (f32, f32) {
        let aligned = columns.start / 16 * 16..columns.end.next_multiple_of(16);
        row[aligned.start..columns.start].fill(f32::MIN);
        row[columns.end..aligned.end].fill(f32::MIN);
        let mut largest = [f32::MIN; 16];
        for scores in row[aligned.clone()].chunks_exact(16) {
            for (largest, score) in largest.iter_mut().zip(scores) {
                *largest = if *score > *largest { *score } else { *largest };
            }
        }
        let largest = largest.into_iter().fold(f32::MIN, f32::max);
        let mut sums = [0f32; 16];
        for scores in row[aligned].chunks_exact_mut(16) {
            for (sum, score) in sums.iter_mut().zip(scores) {
                *score = exp::<FUSED>((*score - largest) * scale);
                *sum += *score;
            }
        }
        row[..columns.start].fill(0.0);
        row[columns.end..].fill(0.0);
        let sum: f32 = sums.iter().sum();
        (sum, largest * scale + sum.ln())
    }
    fn scale_row(row: &[f32], factor: f32, out: &mut [f32]) {
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
    let heads = (1..shape.offsets.len()).flat_map(|end| (0..shape.heads).map(move |head| (end - 1, head)));
    let tiles: Vec<Tile> = heads.flat_map(|(sequence, head)| shape.tiles(sequence, head)).collect();
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

impl Forward<'_> {
    fn run(&self, tile: &Tile) {
        let (widest, d) = (self.shape.widest(), self.shape.head_dim);
        with_scratch(QUERIES * (widest + 2 * d), |scratch| {
            let (scores, rest) = scratch.split_at_mut(QUERIES * widest);
            let (queries, mixed) = rest.split_at_mut(QUERIES * d);
            self.mix(tile, scores, queries, mixed);
        });
    }

    /// Scores `[queries, keys]`, their softmax, and its product with the values, whose rows are divided by the sums last of all.
    fn mix(&self, tile: &Tile, scores: &mut [f32], queries: &mut [f32], mixed: &mut [f32]) {
        let (shape, d) = (self.shape, self.shape.head_dim);
        let (keys, rows, key_head) = (shape.keys(tile), tile.queries.len(), tile.head / shape.group());
        let leading = keys.len().next_multiple_of(PANEL);
        let first = tile.start + tile.queries.start;
        gather_rows(self.q, shape.heads * d, first..first + rows, tile.head * d, queries, d);
        score(self.tier, shape, &keys, rows, queries, self.keys.head(tile.sequence, key_head), scores);
        let sums: Vec<(f32, f32)> = shape
            .columns(tile)
            .zip(scores.chunks_mut(leading))
            .map(|(columns, row)| exponentiate_row(self.tier, row, columns, shape.scale))
            .collect();
        let probabilities = Left { data: scores, row: leading, depth: 1 };
        let values = Right { data: &self.values.head(tile.start, key_head)[keys.start * d..], leading: d };
        multiply(self.tier, Extent { m: rows, n: d, k: keys.len() }, probabilities, values, mixed, d, false);
        for (i, (sum, log)) in sums.into_iter().enumerate() {
            let entry = (first + i) * shape.heads + tile.head;
            // SAFETY: no two tiles have a (row, head) in common.
            let (out, saved) = unsafe { (self.out.slice(entry * d, d), self.log_sum_exp.slice(entry, 1)) };
            scale_row(self.tier, &mixed[i * d..], 1.0 / sum, out);
            saved[0] = log;
        }
    }
}

/// `scores[rows, keys] = queries[rows, head_dim] · panelsᵀ`, a panel at a time; rows of `scores` are whole panels long.
pub(crate) fn score(
    tier: Tier,
    shape: &AttentionShape,
    keys: &Range<usize>,
    rows: usize,
    queries: &[f32],
    panels: &[f32],
    scores: &mut [f32],
) {
    let d = shape.head_dim;
    let leading = keys.len().next_multiple_of(PANEL);
    for (column, panel) in (0..leading).step_by(PANEL).zip(panels.chunks_exact(PANEL * d).skip(keys.start / PANEL)) {
        // the panel is padded with zeros, so whole vectors of 16 columns may be computed
        let n = PANEL.min((keys.len() - column).next_multiple_of(16));
        let (left, right) = (Left { data: queries, row: d, depth: 1 }, Right { data: panel, leading: PANEL });
        multiply(tier, Extent { m: rows, n, k: d }, left, right, &mut scores[column..], leading, false);
    }
}
