//! The selective scan of state-space models: a linear recurrence of every channel whose step and whose ways in and out depend on the token.
//!
//! h_t = e^(Δ_t·A)·h_(t−1) + Δ_t·x_t·B_t and y_t = C_t·h_t + D·x_t, with A = −e^(a) and Δ = ln(1 + e^s). A. Gu and T. Dao, "Mamba", 2023,
//! arXiv:2312.00752, section 3.2 (the first order of its discretisation of B). Time and memory are linear in the number of tokens; for the way
//! back the states of every 64th token are kept, and those between are computed again.

use crate::dispatch::{Tier, simd, tier};
use crate::math::{exp, mul_add};
use rayon::prelude::*;

/// Channels that go through the recurrence side by side.
pub(crate) const GROUP: usize = 16;
/// Tokens between two states that are kept.
pub const CHUNK: usize = 64;

/// A number of each channel of a group.
pub(crate) type Lane = [f32; GROUP];

/// Tokens before which the state is kept.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    pub start: usize,
    pub end: usize,
    /// Whether a sequence begins with it, and whether one ends.
    pub begins: bool,
    pub ends: bool,
}

/// Sizes of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanShape<'a> {
    /// Channels.
    pub width: usize,
    /// States of each.
    pub states: usize,
    /// Where each sequence starts among the tokens, and the number of tokens.
    pub offsets: &'a [usize],
}

/// What a scan reads.
#[derive(Clone, Copy, Debug)]
pub struct ScanInputs<'a> {
    /// [tokens, width]
    pub x: &'a [f32],
    /// s, of which Δ is the softplus [tokens, width]
    pub step: &'a [f32],
    /// B [tokens, states]
    pub into: &'a [f32],
    /// C [tokens, states]
    pub out_of: &'a [f32],
    /// a, of which A is −eᵃ [width, states]
    pub decay: &'a [f32],
    /// D `[width]`
    pub skip: &'a [f32],
}

impl ScanShape<'_> {
    pub(crate) fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    pub(crate) fn groups(&self) -> usize {
        self.width.div_ceil(GROUP)
    }

    /// Numbers that the way back needs of the way forward.
    pub fn kept(&self) -> usize {
        self.groups() * chunks(self.offsets).count() * self.states * GROUP
    }

    pub(crate) fn check(&self, inputs: &ScanInputs) {
        let (tokens, of_channels) = (self.tokens(), self.tokens() * self.width);
        assert!(inputs.x.len() == of_channels && inputs.step.len() == of_channels, "a row for every token");
        assert!([inputs.into, inputs.out_of].iter().all(|way| way.len() == tokens * self.states), "B and C of states");
        assert!(
            inputs.decay.len() == self.width * self.states && inputs.skip.len() == self.width,
            "A and D of channels"
        );
    }
}

/// The chunks of some sequences, one after the other.
pub(crate) fn chunks(offsets: &[usize]) -> impl Iterator<Item = Chunk> {
    offsets.windows(2).flat_map(|ends| {
        let (first, last) = (ends[0], ends[1]);
        (first..last).step_by(CHUNK).map(move |start| {
            let end = last.min(start + CHUNK);
            Chunk { start, end, begins: start == first, ends: end == last }
        })
    })
}

/// The channels of a group in a row `[width]`, zeros beyond the last.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inside each tier's target features")]
pub(crate) fn lane(row: &[f32], group: usize) -> Lane {
    let own = &row[group * GROUP..row.len().min((group + 1) * GROUP)];
    <[f32; GROUP]>::try_from(own).unwrap_or_else(|_| {
        let mut lane = [0.0; GROUP];
        lane[..own.len()].copy_from_slice(own);
        lane
    })
}

/// ln(1 + eˣ)
#[inline(always)]
#[allow(clippy::inline_always, reason = "inside each tier's target features")]
pub(crate) fn softplus<const FUSED: bool>(x: f32) -> f32 {
    let z = exp::<FUSED>(-x.abs());
    // ln(1 + z) = 2·artanh(z / (2 + z)), whose argument is at most a third
    let s = z / (2.0 + z);
    let square = s * s;
    let p = mul_add::<FUSED>(square, 1.0 / 15.0, 1.0 / 13.0);
    let p = mul_add::<FUSED>(square, p, 1.0 / 11.0);
    let p = mul_add::<FUSED>(square, p, 1.0 / 9.0);
    let p = mul_add::<FUSED>(square, p, 1.0 / 7.0);
    let p = mul_add::<FUSED>(square, p, 1.0 / 5.0);
    let p = mul_add::<FUSED>(square, p, 1.0 / 3.0);
    let positive = if x > 0.0 { x } else { 0.0 };
    mul_add::<FUSED>(2.0 * s, mul_add::<FUSED>(square, p, 1.0), positive)
}

simd! {
    /// A = −eᵃ of a group, state by state.
    pub(crate) fn rates(decay: &[f32], states: usize, group: usize, rates: &mut [Lane]) {
        for (n, rate) in rates.iter_mut().enumerate() {
            let mut log = [0f32; GROUP];
            for (log, channel) in log.iter_mut().zip(group * GROUP..) {
                *log = decay.get(channel * states + n).copied().unwrap_or(0.0);
            }
            for (rate, log) in rate.iter_mut().zip(log) {
                *rate = -exp::<FUSED>(log);
            }
        }
    }
    /// One token: the states move on; what comes out, without D.
    fn step(x: &Lane, raw: &Lane, ways: [&[f32]; 2], rates: &[Lane], h: &mut [Lane], y: &mut Lane) {
        let [into, out_of] = ways;
        let (mut delta, mut gain) = ([0f32; GROUP], [0f32; GROUP]);
        for i in 0..GROUP {
            delta[i] = softplus::<FUSED>(raw[i]);
            gain[i] = delta[i] * x[i];
        }
        let mut sum = [0f32; GROUP];
        for (((h, rate), &b), &c) in h.iter_mut().zip(rates).zip(into).zip(out_of) {
            for i in 0..GROUP {
                let fall = exp::<FUSED>(delta[i] * rate[i]);
                h[i] = mul_add::<FUSED>(fall, h[i], gain[i] * b);
                sum[i] = mul_add::<FUSED>(h[i], c, sum[i]);
            }
        }
        *y = sum;
    }
}

/// y [tokens, width]. `kept` takes what [`selective_scan_backward`](crate::selective_scan_backward) needs, [`ScanShape::kept`] numbers, or
/// nothing where there is no way back.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn selective_scan(shape: &ScanShape, inputs: &ScanInputs, y: &mut [f32], kept: &mut [f32]) {
    shape.check(inputs);
    assert!(y.len() == inputs.x.len() && (kept.is_empty() || kept.len() == shape.kept()), "room for what comes out");
    if y.is_empty() {
        return;
    }
    let (tier, tokens) = (tier(), shape.tokens());
    let mut grouped = crate::zeros(shape.groups() * tokens * GROUP);
    let room = kept.len() / shape.groups();
    let mut kept: Vec<&mut [f32]> = if room == 0 { Vec::new() } else { kept.chunks_mut(room).collect() };
    kept.resize_with(shape.groups(), || &mut []);
    grouped.par_chunks_mut(tokens * GROUP).zip(kept).enumerate().for_each(|(group, (y, kept))| {
        scan_group(tier, (shape, inputs), group, y.as_chunks_mut().0, kept.as_chunks_mut().0);
    });
    ungroup(shape, &grouped, y, false, |row, y| {
        let x = &inputs.x[row * shape.width..][..shape.width];
        y.iter_mut().zip(x).zip(inputs.skip).for_each(|((y, x), d)| *y += d * x);
    });
}

/// The recurrence of one group. Keeps the states before each chunk where there is room.
fn scan_group(tier: Tier, (shape, inputs): (&ScanShape, &ScanInputs), group: usize, y: &mut [Lane], kept: &mut [Lane]) {
    let n = shape.states;
    let mut rate = vec![[0f32; GROUP]; n];
    rates(tier, inputs.decay, n, group, &mut rate);
    let mut h = vec![[0f32; GROUP]; n];
    for (chunk, Chunk { start, end, begins, .. }) in chunks(shape.offsets).enumerate() {
        if begins {
            h.fill([0.0; GROUP]);
        }
        if let Some(kept) = kept.get_mut(chunk * n..(chunk + 1) * n) {
            kept.copy_from_slice(&h);
        }
        for token in start..end {
            let row = token * shape.width..(token + 1) * shape.width;
            let (x, raw) = (lane(&inputs.x[row.clone()], group), lane(&inputs.step[row], group));
            let ways = [inputs.into, inputs.out_of].map(|way| &way[token * n..(token + 1) * n]);
            step(tier, &x, &raw, ways, &rate, &mut h, &mut y[token]);
        }
    }
}

/// Groups [groups, tokens, 16] → rows [tokens, width], added where `accumulate`; then `finish` sees every row.
pub(crate) fn ungroup(
    shape: &ScanShape,
    grouped: &[f32],
    rows: &mut [f32],
    accumulate: bool,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) {
    let tokens = shape.tokens();
    rows.par_chunks_mut(shape.width).enumerate().for_each(|(row, out)| {
        for (group, out) in out.chunks_mut(GROUP).enumerate() {
            let from = &grouped[(group * tokens + row) * GROUP..][..out.len()];
            if accumulate {
                out.iter_mut().zip(from).for_each(|(out, from)| *out += from);
            } else {
                out.copy_from_slice(from);
            }
        }
        finish(row, out);
    });
}
