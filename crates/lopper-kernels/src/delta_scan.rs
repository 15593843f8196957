//! The gated delta rule: a state that falls, and in which what a key finds is replaced by its value, as matrix products.
//!
//! S_t = e^(Δ_t·A)·(I − β_t·k_t·k_tᵀ)·S_(t−1) + β_t·k_t·v_tᵀ and o_t = S_tᵀ·q_t of every value head, with A = −e^(a) and
//! Δ = ln(1 + e^(s + b)). S. Yang, J. Kautz and A. Hatamizadeh, "Gated Delta Networks", 2024, arXiv:2412.06464, section 3. Within a chunk,
//! with S the state before it, E what is left from one token to another and e what is left of S, the changes U solve
//! (I + L)·U = β ∘ (V − e ∘ K·S), L = β ∘ E ∘ K·Kᵀ below its diagonal; then O = e ∘ Q·S + (E ∘ Q·Kᵀ)·U. Time is linear in the number of tokens,
//! and the states before every [`CHUNK`]th token are kept.

use crate::delta_scan_shape::{DeltaScanInputs, DeltaScanShape};
use crate::dispatch::{Tier, simd, tier};
use crate::head_scan_steps::{StepInputs, Steps, add_scaled, gathered, multiply_all, product, remainders, transposed};
use crate::math::mul_add;
use crate::scan::{CHUNK, Chunk, chunks};
use crate::scratch::Shared;
use crate::tile::{Left, Right};
use rayon::prelude::*;

simd! {
    /// Rows of (I + L)⁻¹·U in the place of those of U, L [length, length] below its diagonal.
    fn substitute(links: &[f32], length: usize, rows: &mut [f32], width: usize) {
        for t in 1..length {
            let (before, row) = rows.split_at_mut(t * width);
            let row = &mut row[..width];
            for (link, other) in links[t * length..].iter().zip(before.chunks(width)) {
                for (x, y) in row.iter_mut().zip(other) {
                    *x = mul_add::<FUSED>(-link, *y, *x);
                }
            }
        }
    }
}

/// A scan at work.
#[derive(Clone, Copy)]
pub(crate) struct Delta<'a> {
    pub tier: Tier,
    pub shape: &'a DeltaScanShape<'a>,
    pub inputs: &'a DeltaScanInputs<'a>,
}

/// What a chunk has of a key head.
pub(crate) struct Keys {
    /// K·Kᵀ [length, length]
    pub with_keys: Vec<f32>,
    /// Q·Kᵀ [length, length]
    pub with_queries: Vec<f32>,
}

/// What a chunk has of a value head.
pub(crate) struct Solved {
    pub steps: Steps,
    /// β
    pub strength: [f32; CHUNK],
    /// E [length, length]
    pub remain: Vec<f32>,
    /// L [length, length]
    pub links: Vec<f32>,
    /// E ∘ Q·Kᵀ [length, length]
    pub weights: Vec<f32>,
    /// V − e ∘ K·S [length, value_dim]
    pub surprise: Vec<f32>,
    /// U [length, value_dim]
    pub changes: Vec<f32>,
}

/// o [tokens, value_heads·value_dim]. `kept`, [`DeltaScanShape::kept`] numbers, takes what
/// [`delta_scan_backward`](crate::delta_scan_backward) needs.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn delta_scan(shape: &DeltaScanShape, inputs: &DeltaScanInputs, y: &mut [f32], kept: &mut [f32]) {
    let scan = Delta::new(shape, inputs);
    assert!(y.len() == inputs.value.len() && kept.len() == shape.kept(), "room for what comes out");
    if y.is_empty() {
        return;
    }
    let (y, kept) = (Shared::new(y), Shared::new(kept));
    scan.by_key_head(|sequence, key_head| scan.outputs(sequence, key_head, &y, &kept));
}

impl<'a> Delta<'a> {
    pub fn new(shape: &'a DeltaScanShape<'a>, inputs: &'a DeltaScanInputs<'a>) -> Self {
        shape.check(inputs);
        Self { tier: tier(), shape, inputs }
    }

    /// Every key head of every sequence by itself: the numbered chunks of the sequence, and the head.
    pub fn by_key_head(&self, work: impl Fn(&[(usize, Chunk)], usize) + Sync) {
        let numbered: Vec<(usize, Chunk)> = chunks(self.shape.offsets).enumerate().collect();
        let sequences = numbered.chunk_by(|_, (_, next)| !next.begins);
        let tasks: Vec<_> =
            sequences.flat_map(|sequence| (0..self.shape.key_heads).map(move |head| (sequence, head))).collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(sequence, head)| work(sequence, head));
    }

    /// The columns of queries or keys of a key head, from the first token of a chunk on.
    pub fn of_key<'b>(&self, of: &'b [f32], chunk: Chunk, key_head: usize) -> &'b [f32] {
        &of[chunk.start * self.shape.keys() + key_head * self.shape.key_dim..]
    }

    /// The columns of values, or of what is as wide, of a value head, from the first token of a chunk on.
    pub fn of_value<'b>(&self, of: &'b [f32], chunk: Chunk, head: usize) -> &'b [f32] {
        &of[chunk.start * self.shape.values() + head * self.shape.value_dim..]
    }

    pub fn keys(&self, chunk: Chunk, key_head: usize) -> Keys {
        let (leading, width, length) = (self.shape.keys(), self.shape.key_dim, chunk.end - chunk.start);
        let [query, key] = [self.inputs.query, self.inputs.key].map(|of| self.of_key(of, chunk, key_head));
        let turned = transposed(key, leading, [length, width]);
        let [with_queries, with_keys] = [query, key].map(|data| {
            let mut scores = vec![0.0; length * length];
            let rows = Left { data, row: leading, depth: 1 };
            product(
                self.tier,
                [length, length, width],
                rows,
                Right { data: &turned, leading: length },
                &mut scores,
                false,
            );
            scores
        });
        Keys { with_keys, with_queries }
    }

    /// What a chunk changes in the state of a value head, which is `before` ahead of it.
    pub fn solve(&self, at: (Chunk, usize, usize), keys: &Keys, before: &[f32]) -> Solved {
        let (Self { tier, shape, inputs }, (chunk, _, head)) = (*self, at);
        let (width, length) = (shape.value_dim, chunk.end - chunk.start);
        let DeltaScanInputs { step, decay, bias, .. } = *inputs;
        let limits = [0.0, f32::INFINITY];
        let steps = Steps::of(tier, &StepInputs { step, decay, bias, limits }, chunk, head);
        let mut strength = [0.0; CHUNK];
        for (strength, token) in strength.iter_mut().zip(chunk.start..chunk.end) {
            *strength = inputs.strength[token * shape.value_heads + head];
        }
        let [remain, links, weights] = self.triangles(&steps, &strength, keys, length);
        let surprise = self.surprise(at, &steps, before);
        let mut changes = gathered(self.tier, &surprise, [width; 2], &strength[..length]);
        substitute(tier, &links, length, &mut changes, width);
        Solved { steps, strength, remain, links, weights, surprise, changes }
    }

    /// E, L and E ∘ Q·Kᵀ [length, length].
    fn triangles(&self, steps: &Steps, strength: &[f32; CHUNK], keys: &Keys, length: usize) -> [Vec<f32>; 3] {
        let [mut remain, mut links, mut weights] = [(); 3].map(|()| vec![0.0; length * length]);
        for (t, strength) in strength.iter().enumerate().take(length) {
            let row = t * length..t * length + t + 1;
            let own = &mut remain[row.clone()];
            remainders(self.tier, &steps.fall, steps.fall[t], own);
            let scores = own.iter().zip(&keys.with_queries[row.clone()]);
            weights[row.clone()].iter_mut().zip(scores).for_each(|(out, (left, score))| *out = left * score);
            let (below, scores) = (row.start..row.end - 1, own.iter().zip(&keys.with_keys[row]));
            links[below].iter_mut().zip(scores).for_each(|(out, (left, score))| *out = strength * left * score);
        }
        [remain, links, weights]
    }

    /// V − e ∘ K·S [length, value_dim].
    fn surprise(&self, (chunk, key_head, head): (Chunk, usize, usize), steps: &Steps, before: &[f32]) -> Vec<f32> {
        let Self { tier, shape, inputs } = *self;
        let (width, length) = (shape.value_dim, chunk.end - chunk.start);
        let mut surprise = vec![0.0; length * width];
        if !chunk.begins {
            let key = Left { data: self.of_key(inputs.key, chunk, key_head), row: shape.keys(), depth: 1 };
            let before = Right { data: before, leading: width };
            product(self.tier, [length, width, shape.key_dim], key, before, &mut surprise, false);
        }
        let values = self.of_value(inputs.value, chunk, head).chunks(shape.values());
        for ((t, row), value) in surprise.chunks_mut(width).enumerate().zip(values) {
            multiply_all(tier, -steps.left(t), row);
            add_scaled(tier, &value[..width], 1.0, row);
        }
        surprise
    }

    fn outputs(&self, sequence: &[(usize, Chunk)], key_head: usize, y: &Shared<f32>, kept: &Shared<f32>) {
        let (shape, size) = (self.shape, self.shape.state());
        let heads = shape.sharing(key_head);
        let mut states = vec![0.0; heads.len() * size];
        for &(number, chunk) in sequence {
            let keys = self.keys(chunk, key_head);
            for (head, state) in heads.clone().zip(states.chunks_mut(size)) {
                // SAFETY: no two heads of a chunk have a place in common.
                unsafe { kept.slice((number * shape.value_heads + head) * size, size) }.copy_from_slice(state);
                self.output((chunk, key_head, head), &keys, state, y);
            }
        }
    }

    /// What a chunk of a value head gives; `state`, before it, becomes that after it.
    fn output(&self, at: (Chunk, usize, usize), keys: &Keys, state: &mut [f32], y: &Shared<f32>) {
        let (Self { tier, shape, inputs }, (chunk, key_head, head)) = (*self, at);
        let (wide, width, length) = (shape.key_dim, shape.value_dim, chunk.end - chunk.start);
        let Solved { steps, weights, changes, .. } = self.solve(at, keys, state);
        let query = Left { data: self.of_key(inputs.query, chunk, key_head), row: shape.keys(), depth: 1 };
        let mut mixed = vec![0.0; length * width];
        product(self.tier, [length, width, wide], query, Right { data: state, leading: width }, &mut mixed, false);
        mixed.chunks_mut(width).enumerate().for_each(|(t, row)| multiply_all(tier, steps.left(t), row));
        let (weights, changes) =
            (Left { data: &weights, row: length, depth: 1 }, Right { data: &changes, leading: width });
        product(self.tier, [length, width, length], weights, changes, &mut mixed, true);
        for (token, row) in (chunk.start..).zip(mixed.chunks(width)) {
            // SAFETY: no two tasks have a head of a token in common.
            unsafe { y.slice(token * shape.values() + head * width, width) }.copy_from_slice(row);
        }
        if !chunk.ends {
            multiply_all(tier, steps.left(length - 1), state);
            let remains: Vec<f32> = (0..length).map(|token| steps.remains(token, length)).collect();
            let key = gathered(self.tier, self.of_key(inputs.key, chunk, key_head), [shape.keys(), wide], &remains);
            product(self.tier, [wide, width, length], Left { data: &key, row: 1, depth: wide }, changes, state, true);
        }
    }
}
