//! Gradient of causal attention, recomputing the softmax from the saved logarithms of its sums.
//!
//! With dP = dO·Vᵀ and Dₜ = Σ_d dOₜ·Oₜ: dS = scale·P∘(dP − D), dQ = dS·K, dK = dSᵀ·Q, dV = Pᵀ·dO. T. Dao et al., "FlashAttention", 2022,
//! arXiv:2205.14135, appendix B.2. Parallel over (sequence, key head); inside, query heads and tiles go in order, so sums have one order.

use crate::attention::{AttentionShape, PANEL, QUERIES, Tile, score};
use crate::dispatch::{Tier, simd, tier};
use crate::math::{dot, exp, mul_add};
use crate::packed::{ByHead, Panels, by_head, gather_rows, panels};
use crate::scratch::{Shared, with_scratch};
use crate::tile::{Extent, Left, Right, multiply};
use rayon::prelude::*;
use std::ops::Range;

simd! {
    /// Turns a row of scores into probabilities and a row of dP into dS, both 0 outside `columns`.
    fn differentiate_row(scores: &mut [f32], slopes: &mut [f32], columns: Range<usize>, scale: f32, log_sum_exp: f32, out: &[f32], d_out: &[f32]) {
        let pull = dot::<FUSED>(out, d_out);
        let aligned = columns.start / 16 * 16..columns.end.next_multiple_of(16);
        let pairs = scores[aligned.clone()].chunks_exact_mut(16).zip(slopes[aligned].chunks_exact_mut(16));
        for (scores, slopes) in pairs {
            for (score, slope) in scores.iter_mut().zip(slopes) {
                *score = exp::<FUSED>(mul_add::<FUSED>(*score, scale, -log_sum_exp));
                *slope = *score * (*slope - pull) * scale;
            }
        }
        for row in [scores, slopes] {
            row[..columns.start].fill(0.0);
            row[columns.end..].fill(0.0);
        }
    }
}

/// Gradients of [`crate::attention`] with respect to `q`, `k` and `v`; overwrites `dq`, `dk` and `dv`.
///
/// `out` and `log_sum_exp` are what the forward pass wrote, `d_out` is `[tokens, heads·head_dim]`; the gradients have the shapes of what
/// they belong to.
///
/// # Panics
///
/// As [`crate::attention`].
#[allow(clippy::too_many_arguments, reason = "the operands of the forward pass, each with its gradient")]
pub fn attention_backward(
    shape: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    log_sum_exp: &[f32],
    d_out: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    shape.check("attention_backward", q, k, v);
    let entries = [out.len(), d_out.len(), dq.len()];
    assert!(entries == [q.len(); 3], "attention_backward: out, d_out and dq must be as long as q");
    assert!(dk.len() == k.len() && dv.len() == k.len(), "attention_backward: dk and dv must be as long as k");
    assert_eq!(
        log_sum_exp.len(),
        shape.tokens() * shape.heads,
        "attention_backward: log_sum_exp is not [tokens, heads]"
    );
    let (key_panels, value_panels, keys) = (panels(shape, k), panels(shape, v), by_head(shape, k));
    let (dq, dk, dv) = (Shared::new(dq), Shared::new(dk), Shared::new(dv));
    let backward =
        Backward { tier: tier(), shape, q, key_panels, value_panels, keys, out, log_sum_exp, d_out, dq, dk, dv };
    let tasks = (1..shape.offsets.len()).flat_map(|end| (0..shape.kv_heads).map(move |head| (end - 1, head)));
    tasks.collect::<Vec<_>>().into_par_iter().with_max_len(1).for_each(|(sequence, head)| backward.run(sequence, head));
}

/// What the tasks of a backward pass share.
struct Backward<'a> {
    tier: Tier,
    shape: &'a AttentionShape<'a>,
    q: &'a [f32],
    key_panels: Panels,
    value_panels: Panels,
    keys: ByHead,
    out: &'a [f32],
    log_sum_exp: &'a [f32],
    d_out: &'a [f32],
    dq: Shared<'a, f32>,
    dk: Shared<'a, f32>,
    dv: Shared<'a, f32>,
}

/// Scratch of one task.
struct Workspace<'a> {
    /// Scores, then probabilities: `[QUERIES, keys]`.
    scores: &'a mut [f32],
    /// dP, then dS: `[QUERIES, keys]`.
    slopes: &'a mut [f32],
    /// Queries, output gradients and query gradients of the tile: `[QUERIES, head_dim]` each.
    queries: &'a mut [f32],
    d_out: &'a mut [f32],
    dq: &'a mut [f32],
    /// Gradients of the keys and values of the sequence: `[length, head_dim]` each.
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Backward<'_> {
    /// One key head of one sequence, with all query heads that read it.
    fn run(&self, sequence: usize, key_head: usize) {
        let (widest, d) = (self.shape.widest(), self.shape.head_dim);
        let (start, end) = (self.shape.offsets[sequence], self.shape.offsets[sequence + 1]);
        with_scratch(QUERIES * (2 * widest + 3 * d) + 2 * (end - start) * d, |scratch| {
            let (scores, rest) = scratch.split_at_mut(QUERIES * widest);
            let (slopes, rest) = rest.split_at_mut(QUERIES * widest);
            let (queries, rest) = rest.split_at_mut(QUERIES * d);
            let (d_out, rest) = rest.split_at_mut(QUERIES * d);
            let (dq, rest) = rest.split_at_mut(QUERIES * d);
            rest.fill(0.0);
            let (dk, dv) = rest.split_at_mut((end - start) * d);
            let mut workspace = Workspace { scores, slopes, queries, d_out, dq, dk, dv };
            for head in key_head * self.shape.group()..(key_head + 1) * self.shape.group() {
                self.shape.tiles(sequence, head).for_each(|tile| self.tile(&tile, &mut workspace));
            }
            self.scatter(&self.dk, workspace.dk, start, self.shape.kv_heads, key_head);
            self.scatter(&self.dv, workspace.dv, start, self.shape.kv_heads, key_head);
        });
    }

    fn tile(&self, tile: &Tile, workspace: &mut Workspace) {
        let Workspace { scores, slopes, queries, d_out, dq, dk, dv } = workspace;
        let (shape, d, tier) = (self.shape, self.shape.head_dim, self.tier);
        let (keys, rows, key_head) = (shape.keys(tile), tile.queries.len(), tile.head / shape.group());
        let (first, leading) = (tile.start + tile.queries.start, keys.len().next_multiple_of(PANEL));
        gather_rows(self.q, shape.heads * d, first..first + rows, tile.head * d, queries, d);
        gather_rows(self.d_out, shape.heads * d, first..first + rows, tile.head * d, d_out, d);
        score(tier, shape, &keys, rows, queries, self.key_panels.head(tile.sequence, key_head), scores);
        score(tier, shape, &keys, rows, d_out, self.value_panels.head(tile.sequence, key_head), slopes);
        let pairs = scores.chunks_mut(leading).zip(slopes.chunks_mut(leading));
        for (i, (columns, (scores, slopes))) in shape.columns(tile).zip(pairs).enumerate() {
            let entry = (first + i) * shape.heads + tile.head;
            let out = &self.out[entry * d..][..d];
            differentiate_row(
                tier,
                scores,
                slopes,
                columns,
                shape.scale,
                self.log_sum_exp[entry],
                out,
                &d_out[i * d..][..d],
            );
        }
        let (by_key, keys_start) = (Extent { m: keys.len(), n: d, k: rows }, keys.start * d);
        let transposed = |data| Left { data, row: 1, depth: leading };
        multiply(tier, by_key, transposed(scores), Right { data: d_out, leading: d }, &mut dv[keys_start..], d, true);
        multiply(tier, by_key, transposed(slopes), Right { data: queries, leading: d }, &mut dk[keys_start..], d, true);
        let right = Right { data: &self.keys.head(tile.start, key_head)[keys_start..], leading: d };
        let by_query = Extent { m: rows, n: d, k: keys.len() };
        multiply(tier, by_query, Left { data: slopes, row: leading, depth: 1 }, right, dq, d, false);
        self.scatter(&self.dq, &dq[..rows * d], first, shape.heads, tile.head);
    }

    /// Copies the rows of one head to their places in a gradient of `heads` heads, from row `first` on.
    fn scatter(&self, to: &Shared<f32>, rows: &[f32], first: usize, heads: usize, head: usize) {
        let d = self.shape.head_dim;
        for (i, row) in rows.chunks_exact(d).enumerate() {
            // SAFETY: a (row, head) belongs to one task, which holds no other piece of it.
            unsafe { to.slice(((first + i) * heads + head) * d, d) }.copy_from_slice(row);
        }
    }
}
