//! The scan of Mamba 2: a linear recurrence whose states fall alike within a head, as matrix products.
//!
//! h_t = e^(Δ_t·A)·h_(t−1) + Δ_t·B_t·x_tᵀ and y_t = h_tᵀ·C_t + D·x_t of every head, with A = −e^(a) and Δ = ln(1 + e^(s + b)) within its
//! limits. T. Dao and A. Gu, "Transformers are SSMs", 2024, arXiv:2405.21060, section 6: within a chunk of L tokens
//! y = (C·Bᵀ ∘ e^(ΔA from u to t)·Δ_u)·x as causal attention has it, and between chunks the states go on. Time is linear in the number of
//! tokens, and the states of every [`CHUNK`]th token are kept.

use crate::dispatch::{Tier, tier};
use crate::head_scan_steps::{StepInputs, Steps, add_scaled, gathered, multiply_all, product, remainders, transposed};
use crate::scan::{Chunk, chunks};
use crate::scratch::Shared;
use crate::tile::{Left, Right};
use rayon::prelude::*;

/// Sizes of a scan by heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadScanShape<'a> {
    /// Heads; the groups divide them.
    pub heads: usize,
    /// Channels of each.
    pub head_dim: usize,
    /// Groups of heads that share B and C.
    pub groups: usize,
    /// States of each channel.
    pub states: usize,
    /// Where each sequence starts among the tokens, and the number of tokens.
    pub offsets: &'a [usize],
}

/// What a scan by heads reads.
#[derive(Clone, Copy, Debug)]
pub struct HeadScanInputs<'a> {
    /// [tokens, heads·head_dim]
    pub x: &'a [f32],
    /// s [tokens, heads]
    pub step: &'a [f32],
    /// B [tokens, groups·states]
    pub into: &'a [f32],
    /// C [tokens, groups·states]
    pub out_of: &'a [f32],
    /// a, of which A is −eᵃ `[heads]`
    pub decay: &'a [f32],
    /// D `[heads]`
    pub skip: &'a [f32],
    /// b `[heads]`
    pub bias: &'a [f32],
    /// The smallest and the largest Δ.
    pub limits: [f32; 2],
}

impl HeadScanShape<'_> {
    pub(crate) fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    pub(crate) fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of B and C.
    pub(crate) fn ways(&self) -> usize {
        self.groups * self.states
    }

    /// Numbers of the state of a head.
    pub(crate) fn state(&self) -> usize {
        self.states * self.head_dim
    }

    /// Numbers that the way back needs of the way forward: the state of every head before each chunk.
    pub fn kept(&self) -> usize {
        chunks(self.offsets).count() * self.heads * self.state()
    }

    fn check(&self, inputs: &HeadScanInputs) {
        let (tokens, ways) = (self.tokens(), self.tokens() * self.ways());
        assert!(self.groups > 0 && self.heads.is_multiple_of(self.groups), "groups of heads");
        assert!(inputs.x.len() == tokens * self.width() && inputs.step.len() == tokens * self.heads, "rows of tokens");
        assert!(inputs.into.len() == ways && inputs.out_of.len() == ways, "B and C of groups");
        let of_heads = [inputs.decay, inputs.skip, inputs.bias];
        assert!(of_heads.iter().all(|numbers| numbers.len() == self.heads), "A, D and b of heads");
    }
}

/// A scan at work.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub tier: Tier,
    pub shape: &'a HeadScanShape<'a>,
    pub inputs: &'a HeadScanInputs<'a>,
}

/// y [tokens, heads·head_dim]. `kept`, [`HeadScanShape::kept`] numbers, takes what
/// [`head_scan_backward`](crate::head_scan_backward) needs.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn head_scan(shape: &HeadScanShape, inputs: &HeadScanInputs, y: &mut [f32], kept: &mut [f32]) {
    let scan = Scan::new(shape, inputs);
    assert!(y.len() == inputs.x.len() && kept.len() == shape.kept(), "room for what comes out");
    if y.is_empty() {
        return;
    }
    let numbered: Vec<(usize, Chunk)> = chunks(shape.offsets).enumerate().collect();
    scan.by_head(&numbered, Shared::new(kept), |sequence, head, kept| scan.states(sequence, head, &kept));
    let (y, kept) = (Shared::new(y), &*kept);
    scan.by_group(&numbered, |number, chunk, group| scan.outputs(number, chunk, group, kept, &y));
}

impl<'a> Scan<'a> {
    pub fn new(shape: &'a HeadScanShape<'a>, inputs: &'a HeadScanInputs<'a>) -> Self {
        shape.check(inputs);
        Self { tier: tier(), shape, inputs }
    }

    /// Every head of every sequence by itself.
    pub fn by_head<'k>(
        &self,
        chunks: &[(usize, Chunk)],
        kept: Shared<'k, f32>,
        work: impl Fn(&[(usize, Chunk)], usize, Shared<'k, f32>) + Sync,
    ) {
        let sequences = chunks.chunk_by(|_, (_, next)| !next.begins);
        let tasks: Vec<_> =
            sequences.flat_map(|sequence| (0..self.shape.heads).map(move |head| (sequence, head))).collect();
        tasks.into_par_iter().for_each(|(sequence, head)| work(sequence, head, kept));
    }

    /// Every group of every chunk by itself.
    pub fn by_group(&self, chunks: &[(usize, Chunk)], work: impl Fn(usize, Chunk, usize) + Sync) {
        let groups = self.shape.groups;
        let tasks: Vec<_> = chunks.iter().flat_map(|chunk| (0..groups).map(move |group| (chunk, group))).collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(&(number, chunk), group)| work(number, chunk, group));
    }

    /// The heads of a group.
    pub fn heads(&self, group: usize) -> std::ops::Range<usize> {
        let sharing = self.shape.heads / self.shape.groups;
        group * sharing..(group + 1) * sharing
    }

    pub fn steps(&self, chunk: Chunk, head: usize) -> Steps {
        let HeadScanInputs { step, decay, bias, limits, .. } = *self.inputs;
        Steps::of(self.tier, &StepInputs { step, decay, bias, limits }, chunk, head)
    }

    /// The columns of B or C of a group, from the first token of a chunk on.
    pub fn way<'b>(&self, of: &'b [f32], chunk: Chunk, group: usize) -> &'b [f32] {
        &of[chunk.start * self.shape.ways() + group * self.shape.states..]
    }

    /// The columns of x, or of what is as wide, of a head, from the first token of a chunk on.
    pub fn head<'b>(&self, of: &'b [f32], chunk: Chunk, head: usize) -> &'b [f32] {
        &of[chunk.start * self.shape.width() + head * self.shape.head_dim..]
    }

    /// The states of a head before every chunk of a sequence.
    fn states(&self, sequence: &[(usize, Chunk)], head: usize, kept: &Shared<f32>) {
        let (shape, size) = (self.shape, self.shape.state());
        let group = head / (shape.heads / shape.groups);
        let mut h = vec![0.0; size];
        for &(number, chunk) in sequence {
            // SAFETY: no two heads of a chunk have a place in common.
            unsafe { kept.slice((number * shape.heads + head) * size, size) }.copy_from_slice(&h);
            if chunk.ends {
                break;
            }
            let (steps, length) = (self.steps(chunk, head), chunk.end - chunk.start);
            multiply_all(self.tier, steps.left(length - 1), &mut h);
            let added = (0..length).map(|token| steps.remains(token, length) * steps.delta[token]);
            let (x, added) = (self.head(self.inputs.x, chunk, head), added.collect::<Vec<f32>>());
            let x = gathered(self.tier, x, [shape.width(), shape.head_dim], &added);
            let into = Left { data: self.way(self.inputs.into, chunk, group), row: 1, depth: shape.ways() };
            let (x, extent) = (Right { data: &x, leading: shape.head_dim }, [shape.states, shape.head_dim, length]);
            product(self.tier, extent, into, x, &mut h, true);
        }
    }

    /// C·Bᵀ of a group in a chunk [length, length].
    pub fn scores(&self, chunk: Chunk, group: usize) -> Vec<f32> {
        let (n, ways, length) = (self.shape.states, self.shape.ways(), chunk.end - chunk.start);
        let into = transposed(self.way(self.inputs.into, chunk, group), ways, [length, n]);
        let out_of = Left { data: self.way(self.inputs.out_of, chunk, group), row: ways, depth: 1 };
        let mut scores = vec![0.0; length * length];
        product(self.tier, [length, length, n], out_of, Right { data: &into, leading: length }, &mut scores, false);
        scores
    }

    fn outputs(&self, number: usize, chunk: Chunk, group: usize, kept: &[f32], y: &Shared<f32>) {
        let Self { tier, shape, inputs } = *self;
        let (n, p, width, length) = (shape.states, shape.head_dim, shape.width(), chunk.end - chunk.start);
        let scores = self.scores(chunk, group);
        let out_of = Left { data: self.way(inputs.out_of, chunk, group), row: shape.ways(), depth: 1 };
        let (mut weights, mut mixed) = (vec![0.0; length * length], vec![0.0; length * p]);
        for head in self.heads(group) {
            let steps = self.steps(chunk, head);
            let state = Right { data: &kept[(number * shape.heads + head) * shape.state()..], leading: p };
            product(self.tier, [length, p, n], out_of, state, &mut mixed, false);
            weights.fill(0.0);
            for (t, row) in weights.chunks_mut(length).enumerate() {
                multiply_all(tier, steps.left(t), &mut mixed[t * p..][..p]);
                let row = &mut row[..=t];
                remainders(tier, &steps.fall, steps.fall[t], row);
                let others = scores[t * length..].iter().zip(steps.delta);
                row.iter_mut().zip(others).for_each(|(weight, (score, delta))| *weight *= score * delta);
            }
            let x = self.head(inputs.x, chunk, head);
            let weights = Left { data: &weights, row: length, depth: 1 };
            product(self.tier, [length, p, length], weights, Right { data: x, leading: width }, &mut mixed, true);
            for ((token, row), x) in (chunk.start..).zip(mixed.chunks_mut(p)).zip(x.chunks(width)) {
                add_scaled(tier, &x[..p], inputs.skip[head], row);
                // SAFETY: no two tasks have a head of a token in common.
                unsafe { y.slice(token * width + head * p, p) }.copy_from_slice(row);
            }
        }
    }
}
