//! The gradient of the selective scan, chunk by chunk from the end.
//!
//! With g the gradient of h_t, from y_t and from the token after it: ∂x = Δ·Σ g·B + D·∂y, ∂Δ = Σ g·(A·e^(ΔA)·h_(t−1) + B·x),
//! ∂A = Σ g·Δ·e^(ΔA)·h_(t−1), ∂B = Σ g·Δ·x and ∂C = Σ h_t·∂y over the channels, and e^(ΔA)·g goes to the token before.

use crate::column_products;
use crate::dispatch::{Tier, simd, tier};
use crate::math::{exp, mul_add, sum};
use crate::scan::{CHUNK, Chunk, GROUP, Lane, ScanInputs, ScanShape, chunks, lane, rates, softplus, ungroup};
use rayon::prelude::*;

/// Where gradients of a scan go: of the shapes of its inputs, added to what is there.
#[derive(Debug)]
pub struct ScanGradients<'a> {
    /// [tokens, width]
    pub x: &'a mut [f32],
    /// [tokens, width]
    pub step: &'a mut [f32],
    /// [tokens, states]
    pub into: &'a mut [f32],
    /// [tokens, states]
    pub out_of: &'a mut [f32],
    /// [width, states]
    pub decay: &'a mut [f32],
    /// `[width]`
    pub skip: &'a mut [f32],
}

simd! {
    /// One token forward: e^(ΔA) and the states after it.
    fn again(delta: &Lane, x: &Lane, into: &[f32], rates: &[Lane], states: [&mut [Lane]; 3]) {
        let [before, falls, after] = states;
        for ((((before, fall), after), rate), &b) in before.iter().zip(falls).zip(after).zip(rates).zip(into) {
            for i in 0..GROUP {
                fall[i] = exp::<FUSED>(delta[i] * rate[i]);
                after[i] = mul_add::<FUSED>(fall[i], before[i], delta[i] * x[i] * b);
            }
        }
    }
    /// Δ of a token, and its slope.
    fn steps(raw: &Lane, delta: &mut Lane, slope: &mut Lane) {
        for i in 0..GROUP {
            delta[i] = softplus::<FUSED>(raw[i]);
            slope[i] = 1.0 / (1.0 + exp::<FUSED>(-raw[i]));
        }
    }
    /// One token backward, of dy, x and Δ. `ways` are B and C of the token, `back` their gradients; `states`: e^(ΔA), and those before and after it; `out`: the
    /// gradients of x and of Δ.
    fn back(
        token: [&Lane; 3],
        ways: [&[f32]; 2],
        rates: &[Lane],
        states: [&[Lane]; 3],
        g: &mut [Lane],
        d_rates: &mut [Lane],
        back: [&mut [f32]; 2],
        out: [&mut Lane; 2],
    ) {
        let ([dy, x, delta], [falls, before, after], [dx, d_delta]) = (token, states, out);
        let (mut by_x, mut by_delta) = ([0f32; GROUP], [0f32; GROUP]);
        let [into, out_of] = ways;
        let [d_into, d_out_of] = back;
        for n in 0..g.len() {
            let (b, c) = (into[n], out_of[n]);
            let (mut d_b, mut d_c) = ([0f32; GROUP], [0f32; GROUP]);
            for i in 0..GROUP {
                let own = mul_add::<FUSED>(c, dy[i], g[n][i]);
                let fallen = falls[n][i] * before[n][i] * own;
                by_x[i] = mul_add::<FUSED>(own, b, by_x[i]);
                by_delta[i] = mul_add::<FUSED>(rates[n][i], fallen, by_delta[i]);
                d_rates[n][i] = mul_add::<FUSED>(delta[i], fallen, d_rates[n][i]);
                d_b[i] = own * delta[i] * x[i];
                d_c[i] = after[n][i] * dy[i];
                g[n][i] = falls[n][i] * own;
            }
            d_into[n] = sum(d_b);
            d_out_of[n] = sum(d_c);
        }
        for i in 0..GROUP {
            d_delta[i] = mul_add::<FUSED>(by_x[i], x[i], by_delta[i]);
            dx[i] = by_x[i] * delta[i];
        }
    }
}

/// Adds the gradients of a scan whose output has the gradient `dy` [tokens, width]. `kept` is what the way forward left.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn selective_scan_backward(
    shape: &ScanShape,
    inputs: &ScanInputs,
    (dy, kept): (&[f32], &[f32]),
    gradients: ScanGradients,
) {
    shape.check(inputs);
    assert!(dy.len() == inputs.x.len() && kept.len() == shape.kept(), "what the way forward left");
    if dy.is_empty() {
        return;
    }
    let (tier, n, groups) = (tier(), shape.states, shape.groups());
    let of_group = |group: usize| {
        let own = &kept[group * kept.len() / groups..][..kept.len() / groups];
        back_group(tier, (shape, inputs), group, (dy, own.as_chunks().0))
    };
    let all: Vec<Back> = (0..groups).into_par_iter().map(of_group).collect();
    let flat = |of: fn(&Back) -> &Vec<Lane>| all.iter().flat_map(|back| of(back).as_flattened()).copied().collect();
    let (by_x, by_step): (Vec<f32>, Vec<f32>) = (flat(|back| &back.x), flat(|back| &back.step));
    ungroup(shape, &by_x, gradients.x, true, |row, dx| {
        let dy = &dy[row * shape.width..][..shape.width];
        dx.iter_mut().zip(dy).zip(inputs.skip).for_each(|((dx, dy), d)| *dx += d * dy);
    });
    ungroup(shape, &by_step, gradients.step, true, |_, _| ());
    for (out, of) in [(gradients.into, 0), (gradients.out_of, 1)] {
        // group after group: the same for any number of threads
        out.par_chunks_mut(n.max(1)).enumerate().for_each(|(token, out)| {
            for back in &all {
                let own = &back.ways[of][token * n..(token + 1) * n];
                out.iter_mut().zip(own).for_each(|(out, own)| *out += own);
            }
        });
    }
    gradients.decay.chunks_mut((GROUP * n).max(1)).zip(&all).for_each(|(out, back)| {
        for (channel, out) in out.chunks_mut(n.max(1)).enumerate() {
            out.iter_mut().zip(&back.rates).for_each(|(out, rate)| *out += rate[channel]);
        }
    });
    column_products(dy, inputs.x, gradients.skip);
}

/// Gradients of one group.
struct Back {
    /// `[tokens]`
    x: Vec<Lane>,
    step: Vec<Lane>,
    /// Of B and C [tokens, states]
    ways: [Vec<f32>; 2],
    /// Of a `[states]`
    rates: Vec<Lane>,
}

fn back_group(
    tier: Tier,
    (shape, inputs): (&ScanShape, &ScanInputs),
    group: usize,
    (dy, kept): (&[f32], &[Lane]),
) -> Back {
    const NONE: Lane = [0.0; GROUP];
    let (n, tokens, width) = (shape.states, shape.tokens(), shape.width);
    let mut rate = vec![NONE; n];
    rates(tier, inputs.decay, n, group, &mut rate);
    let of = |rows: &[f32], token: usize| lane(&rows[token * width..(token + 1) * width], group);
    let mut found = Back {
        x: vec![NONE; tokens],
        step: vec![NONE; tokens],
        ways: [(); 2].map(|()| vec![0.0; tokens * n]),
        rates: vec![NONE; n],
    };
    let (mut states, mut falls) = (vec![NONE; (CHUNK + 1) * n], vec![NONE; CHUNK * n]);
    let (mut deltas, mut slopes, mut g) = (vec![NONE; CHUNK], vec![NONE; CHUNK], vec![NONE; n]);
    let chunks = chunks(shape.offsets).collect::<Vec<_>>();
    for (chunk, &Chunk { start, end, ends, .. }) in chunks.iter().enumerate().rev() {
        if ends {
            g.fill(NONE);
        }
        states[..n].copy_from_slice(&kept[chunk * n..(chunk + 1) * n]);
        for (place, token) in (start..end).enumerate() {
            steps(tier, &of(inputs.step, token), &mut deltas[place], &mut slopes[place]);
            let (before, after) = states.split_at_mut((place + 1) * n);
            let (before, after) = (&mut before[place * n..], &mut after[..n]);
            let into = &inputs.into[token * n..(token + 1) * n];
            let falls = &mut falls[place * n..(place + 1) * n];
            again(tier, &deltas[place], &of(inputs.x, token), into, &rate, [before, falls, after]);
        }
        for (place, token) in (start..end).enumerate().rev() {
            let at = token * n..(token + 1) * n;
            let [by_into, by_out_of] = &mut found.ways;
            let mut d_delta = NONE;
            back(
                tier,
                [&of(dy, token), &of(inputs.x, token), &deltas[place]],
                [&inputs.into[at.clone()], &inputs.out_of[at.clone()]],
                &rate,
                [
                    &falls[place * n..(place + 1) * n],
                    &states[place * n..(place + 1) * n],
                    &states[(place + 1) * n..(place + 2) * n],
                ],
                &mut g,
                &mut found.rates,
                [&mut by_into[at.clone()], &mut by_out_of[at]],
                [&mut found.x[token], &mut d_delta],
            );
            for i in 0..GROUP {
                found.step[token][i] = d_delta[i] * slopes[place][i];
            }
        }
    }
    // A = −eᵃ is its own slope
    for (by_rate, rate) in found.rates.iter_mut().zip(&rate) {
        by_rate.iter_mut().zip(rate).for_each(|(by_rate, rate)| *by_rate *= rate);
    }
    found
}
