//! Gradient of causal attention, recomputing the softmax from the saved logarithms of its sums.
//!
//! With dP = dO·Vᵀ and D = rowsum(dO∘O): dS = scale·P∘(dP − D), dQ = dS·K, dK = dSᵀ·Q, dV = Pᵀ·dO. T. Dao et al., `FlashAttention`, 2022,
//! arXiv:2205.14135, appendix B.2. Parallel over (sequence, query head): each has its own gradients of keys and values,
//! summed over the queries in order, and those of a group are summed in order at the end. Blocks of [`KEYS`] keys are the outer loop, so
//! that their gradients stay in the cache.

use crate::attention::{leading, score};
use crate::attention_shape::{AttentionShape, PANEL, QUERIES, Tile};
use crate::dispatch::{Tier, simd, tier};
use crate::math::{dot, exp, mul_add};
use crate::packed::{ByHead, Panels, by_head, gather_rows, panels};
use crate::scratch::{Shared, with_scratch};
use crate::soft_cap::{cap_row, uncap_row};
use crate::tile::{Extent, Left, Right, multiply};
use rayon::prelude::*;
use std::ops::Range;

/// Keys per block: whole panels.
const KEYS: usize = 256;
/// Rows per task when the gradients of a group are summed.
const ROWS: usize = 16;

simd! {
    fn add_row(out: &mut [f32], row: &[f32]) {
        for (out, x) in out.iter_mut().zip(row) {
            *out += x;
        }
    }
    /// `Σ out·d_out`
    pub(crate) fn pull_of(out: &[f32], d_out: &[f32]) -> f32 {
        dot::<FUSED>(out, d_out)
    }
    /// Turns a row of scores into probabilities and a row of dP into dS, both 0 outside `columns`; `scale` is still to be applied to the
    /// scores, `factor` is what dS is multiplied by.
    fn differentiate_row(scores: &mut [f32], slopes: &mut [f32], columns: Range<usize>, scale: f32, factor: f32, log_sum_exp: f32, pull: f32) {
        let aligned = columns.start / 16 * 16..columns.end.next_multiple_of(16);
        let pairs = scores[aligned.clone()].chunks_exact_mut(16).zip(slopes[aligned].chunks_exact_mut(16));
        for (scores, slopes) in pairs {
            for (score, slope) in scores.iter_mut().zip(slopes) {
                *score = exp::<FUSED>(mul_add::<FUSED>(*score, scale, -log_sum_exp));
                *slope = *score * (*slope - pull) * factor;
            }
        }
        for row in [scores, slopes] {
            row[..columns.start].fill(0.0);
            row[columns.end..].fill(0.0);
        }
    }
}

/// Gradients of [`crate::attention`] with respect to `q`, `k` and `v`; overwrites `dq`, `dk` and `dv`. That of sinks is
/// [`crate::attention_sinks_backward`].
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
    let (mut dk_by_head, mut dv_by_head) = (vec![0.0; q.len()], vec![0.0; q.len()]);
    let (dq, dk_parts, dv_parts) = (Shared::new(dq), Shared::new(&mut dk_by_head), Shared::new(&mut dv_by_head));
    let tier = tier();
    let backward =
        Backward { tier, shape, q, key_panels, value_panels, keys, out, log_sum_exp, d_out, dq, dk_parts, dv_parts };
    let tasks: Vec<_> = shape.sequence_heads().collect();
    tasks.into_par_iter().with_max_len(1).for_each(|(sequence, head)| backward.run(sequence, head));
    sum_groups(tier, shape, &dk_by_head, dk);
    sum_groups(tier, shape, &dv_by_head, dv);
}

/// `out[t, key head] = Σ parts[head, t]` over the heads of its group; `parts` is `[heads, tokens, head_dim]`.
fn sum_groups(tier: Tier, shape: &AttentionShape, parts: &[f32], out: &mut [f32]) {
    let (d, tokens) = (shape.head_dim, shape.tokens());
    out.par_chunks_mut(ROWS * shape.kv_heads * d).enumerate().for_each(|(chunk, out)| {
        for (i, out) in out.chunks_exact_mut(d).enumerate() {
            let (t, key_head) = (chunk * ROWS + i / shape.kv_heads, i % shape.kv_heads);
            let part = |head: usize| &parts[(head * tokens + t) * d..][..d];
            let first = key_head * shape.group();
            out.copy_from_slice(part(first));
            (first + 1..first + shape.group()).for_each(|head| add_row(tier, out, part(head)));
        }
    });
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
    /// Gradients of keys and values by query head: `[heads, tokens, head_dim]` each.
    dk_parts: Shared<'a, f32>,
    dv_parts: Shared<'a, f32>,
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
    /// Gradients of the keys and values of the sequence from this head: `[length, head_dim]` each.
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Backward<'_> {
    /// One query head of one sequence.
    fn run(&self, sequence: usize, head: usize) {
        let (shape, d, room) = (self.shape, self.shape.head_dim, QUERIES * leading(KEYS));
        let (start, end) = (shape.offsets[sequence], shape.offsets[sequence + 1]);
        let mine = (head * shape.tokens() + start) * d;
        // SAFETY: the rows of a (sequence, head) belong to this task alone.
        let (dk, dv) =
            unsafe { (self.dk_parts.slice(mine, (end - start) * d), self.dv_parts.slice(mine, (end - start) * d)) };
        with_scratch(2 * room + 3 * QUERIES * d, |scratch| {
            let (scores, rest) = scratch.split_at_mut(room);
            let (slopes, rest) = rest.split_at_mut(room);
            let (queries, rest) = rest.split_at_mut(QUERIES * d);
            let (d_out, dq) = rest.split_at_mut(QUERIES * d);
            let mut workspace = Workspace { scores, slopes, queries, d_out, dq, dk, dv };
            for first in (0..end - start).step_by(KEYS) {
                let block = first..first + KEYS;
                for tile in shape.tiles(sequence, head) {
                    // what the tile sees of the block, from the start of a panel on
                    let seen = shape.visible(tile.queries.start).start / PANEL * PANEL..tile.queries.end;
                    let part = block.start.max(seen.start)..block.end.min(seen.end);
                    if !part.is_empty() {
                        self.tile(&tile, &part, seen.start == part.start, &mut workspace);
                    }
                }
            }
        });
    }

    /// What one tile of queries and one block of keys add to the gradients; `first` is whether the tile meets its first block.
    fn tile(&self, tile: &Tile, block: &Range<usize>, first: bool, workspace: &mut Workspace) {
        self.differentiate(tile, block, workspace);
        let Workspace { scores, slopes, queries, d_out, dq, dk, dv } = workspace;
        let (shape, d, tier, leading) = (self.shape, self.shape.head_dim, self.tier, leading(block.len()));
        let (rows, start) = (tile.queries.len(), block.start * d);
        let (by_key, by_query) = (Extent { m: block.len(), n: d, k: rows }, Extent { m: rows, n: d, k: block.len() });
        let transposed = |data| Left { data, row: 1, depth: leading };
        multiply(tier, by_key, transposed(scores), Right { data: d_out, leading: d }, &mut dv[start..], d, true);
        multiply(tier, by_key, transposed(slopes), Right { data: queries, leading: d }, &mut dk[start..], d, true);
        let keys = Right { data: &self.keys.head(tile.start, tile.head / shape.group())[start..], leading: d };
        multiply(tier, by_query, Left { data: slopes, row: leading, depth: 1 }, keys, dq, d, false);
        for (t, row) in tile.queries.clone().zip(dq.chunks_exact(d)) {
            // SAFETY: a (row, head) belongs to this task alone, which holds no other piece of it.
            let out = unsafe { self.dq.slice(((tile.start + t) * shape.heads + tile.head) * d, d) };
            if first { out.copy_from_slice(row) } else { add_row(tier, out, row) }
        }
    }

    /// Fills the workspace with the tile's queries and output gradients, and the block's probabilities and dS.
    fn differentiate(&self, tile: &Tile, block: &Range<usize>, workspace: &mut Workspace) {
        let Workspace { scores, slopes, queries, d_out, .. } = workspace;
        let (shape, d, tier) = (self.shape, self.shape.head_dim, self.tier);
        let (rows, key_head) = (tile.queries.len(), tile.head / shape.group());
        let (first, leading) = (tile.start + tile.queries.start, leading(block.len()));
        gather_rows(self.q, shape.heads * d, first..first + rows, tile.head * d, queries, d);
        gather_rows(self.d_out, shape.heads * d, first..first + rows, tile.head * d, d_out, d);
        let rowwise = |data| Left { data, row: d, depth: 1 };
        score(tier, d, rows, rowwise(queries), self.key_panels.head(tile.sequence, key_head), block, scores);
        score(tier, d, rows, rowwise(d_out), self.value_panels.head(tile.sequence, key_head), block, slopes);
        let pairs = scores.chunks_mut(leading).zip(slopes.chunks_mut(leading));
        for (i, (columns, (scores, slopes))) in shape.columns(&tile.queries, block).zip(pairs).enumerate() {
            let entry = (first + i) * shape.heads + tile.head;
            let mut pull = pull_of(tier, &self.out[entry * d..][..d], &d_out[i * d..][..d]);
            let t = tile.queries.start + i;
            let products = &mut scores[columns.clone()];
            if let Some(cap) = shape.soft_cap {
                cap_row(tier, products, shape.scale, cap);
                uncap_row(tier, products, &mut slopes[columns.clone()], cap, pull);
                pull = 0.0;
            }
            shape.incline(tier, products, tile.head, t - (block.start + columns.start).min(t));
            let (scale, saved) = (shape.remaining_scale(), self.log_sum_exp[entry]);
            differentiate_row(tier, scores, slopes, columns, scale, shape.scale, saved, pull);
        }
    }
}
