//! What attention is asked for: which queries see which keys, in what tiles, and what becomes of their products.

use crate::dispatch::{Tier, simd};
use crate::math::mul_add;
use crate::rotary::check_offsets;
use crate::soft_cap::cap_row;
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
    /// Bounds scores softly: a score s, scaled, becomes `cap·tanh(s / cap)` (Gemma Team 2024, arXiv 2408.00118, §2).
    pub soft_cap: Option<f32>,
    /// How much less than itself a query sees of the key before, the same again for each further back, by head: linear biases (Press et
    /// al. 2021, arXiv 2108.12409). Empty for none.
    pub slopes: &'a [f32],
    /// By head, the score of a key that every query sees and that has no value: what it takes of the softmax goes nowhere (an attention
    /// sink: `OpenAI` 2025, arXiv 2508.10925, §2.2). It is neither scaled nor capped. Empty for none.
    pub sinks: &'a [f32],
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

    /// The scale that [`Self::adjust`] leaves to be applied.
    pub(crate) fn remaining_scale(&self) -> f32 {
        if self.soft_cap.is_some() || !self.slopes.is_empty() { 1.0 } else { self.scale }
    }

    /// Caps and inclines the products of a query of a head with keys, the first of which is `back` behind it; does nothing where scores
    /// are scaled products and nothing else.
    pub(crate) fn adjust(&self, tier: Tier, products: &mut [f32], head: usize, back: usize) {
        if let Some(cap) = self.soft_cap {
            cap_row(tier, products, self.scale, cap);
        }
        self.incline(tier, products, head, back);
    }

    /// The second half of it.
    pub(crate) fn incline(&self, tier: Tier, scores: &mut [f32], head: usize, back: usize) {
        if let Some(&slope) = self.slopes.get(head) {
            let scale = if self.soft_cap.is_some() { 1.0 } else { self.scale };
            incline_row(tier, scores, scale, slope, back as f32);
        }
    }

    /// Query heads per key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The keys that query `t` of a sequence sees.
    pub(crate) fn visible(&self, t: usize) -> Range<usize> {
        self.window.map_or(0, |window| (t + 1).saturating_sub(window))..t + 1
    }

    /// The columns of a block of keys that each query sees; `0..0` if none.
    pub(crate) fn columns(&self, queries: &Range<usize>, block: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        queries.clone().map(|t| {
            let seen = self.visible(t);
            let (start, end) = (seen.start.max(block.start), seen.end.min(block.end));
            if start < end { start - block.start..end - block.start } else { 0..0 }
        })
    }

    /// The tiles of one head of a sequence, in order.
    pub(crate) fn tiles(&self, sequence: usize, head: usize) -> impl Iterator<Item = Tile> {
        let (start, end) = (self.offsets[sequence], self.offsets[sequence + 1]);
        let firsts = (0..end - start).step_by(QUERIES);
        firsts.map(move |first| Tile { sequence, start, head, queries: first..(end - start).min(first + QUERIES) })
    }

    /// (sequence, head) for every query head.
    pub(crate) fn sequence_heads(&self) -> impl Iterator<Item = (usize, usize)> {
        (1..self.offsets.len()).flat_map(|end| (0..self.heads).map(move |head| (end - 1, head)))
    }

    /// Asserts what the fields promise and the lengths of queries, keys and values.
    pub(crate) fn check(&self, kernel: &str, q: &[f32], k: &[f32], v: &[f32]) {
        let tokens = check_offsets(kernel, self.offsets);
        assert!(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), "{kernel}: kv_heads must divide heads");
        assert!(self.head_dim > 0, "{kernel}: heads of no entries");
        assert!(self.scale > 0.0 && self.scale.is_finite(), "{kernel}: scale must be positive");
        assert!(self.window != Some(0), "{kernel}: a window of no keys");
        assert!(self.soft_cap.is_none_or(|cap| cap > 0.0), "{kernel}: a cap that is not positive");
        assert!(self.slopes.is_empty() || self.slopes.len() == self.heads, "{kernel}: slopes are not [heads]");
        assert!(self.sinks.is_empty() || self.sinks.len() == self.heads, "{kernel}: sinks are not [heads]");
        assert_eq!(q.len(), tokens * self.heads * self.head_dim, "{kernel}: q is not [tokens, heads·head_dim]");
        assert_eq!(k.len(), tokens * self.kv_heads * self.head_dim, "{kernel}: k is not [tokens, kv_heads·head_dim]");
        assert_eq!(v.len(), k.len(), "{kernel}: k and v differ in length");
    }
}

simd! {
    /// Scales a row of scores, the first of which is `back` keys behind the query, and takes `slope` off for each step back.
    fn incline_row(row: &mut [f32], scale: f32, slope: f32, back: f32) {
        let mut steps: [f32; 16] = std::array::from_fn(|i| i as f32 - back);
        for scores in row.chunks_mut(16) {
            for (score, step) in scores.iter_mut().zip(&mut steps) {
                *score = mul_add::<FUSED>(*score, scale, slope * *step);
                *step += 16.0;
            }
        }
    }
}
