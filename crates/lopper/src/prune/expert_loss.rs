//! What a layer of experts loses without some of them.
//!
//! An expert that is gone leaves its tokens to others, and what the others count changes. What a token loses is the square of
//! Σ δ_e·f_e over the experts, δ the change of the weights and f what the experts make of it: δᵀ·G·δ with G_ij = f_i·f_j. So the G of every
//! token is computed once, and the loss without any set of experts follows, new routes included.

use rayon::prelude::*;

use crate::autograd::{Routing, Scoring};
use crate::tensor::Tensor;

/// Experts of a layer, and what they make of some tokens.
pub(super) struct Layer {
    pub routing: Routing,
    /// What is added to scores where experts are chosen.
    pub bias: Option<Tensor>,
    /// [tokens, experts]
    pub scores: Vec<f32>,
    /// Products of what the experts give [tokens, experts, experts].
    pub products: Vec<f32>,
}

/// The experts of a token, and how much each counts.
type Weights = Vec<(u32, f64)>;

impl Layer {
    /// The experts that stay, and what share of the output is lost without the others.
    pub fn choose(&self, keep: usize) -> (Vec<usize>, f64) {
        let (experts, groups) = (self.routing.experts, self.routing.groups.map_or(1, |groups| groups.count));
        let (size, tokens) = (experts / groups, self.scores.len() / experts);
        let mut open = vec![true; experts];
        let of_all = |f: &(dyn Fn(usize) -> Token + Sync)| (0..tokens).into_par_iter().map(f).collect::<Vec<Token>>();
        let dense = of_all(&|token| self.token(token, &self.weights(token, &open), &open));
        let mut now = dense.clone();
        for _ in keep..experts {
            let in_group = |group: usize| open[group * size..(group + 1) * size].iter().filter(|open| **open).count();
            let may_go = |&expert: &usize| open[expert] && in_group(expert / size) > keep / groups;
            let candidates: Vec<usize> = (0..experts).filter(may_go).collect();
            let without = |expert: usize| {
                let mut open = open.clone();
                open[expert] = false;
                (0..tokens)
                    .map(|token| self.loss_without(token, expert, (&dense[token], &now[token]), &open))
                    .sum::<f64>()
            };
            let sums: Vec<f64> = candidates.par_iter().map(|&expert| without(expert)).collect();
            let least = (0..sums.len()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]));
            let Some(goes) = least.map(|place| candidates[place]) else { break };
            open[goes] = false;
            now = of_all(&|token| self.token(token, &dense[token].weights, &open));
        }
        let whole: f64 = dense.iter().map(|token| token.own).sum();
        let lost = dense.iter().zip(&now).map(|(dense, now)| dense.own - 2.0 * now.with + now.own).sum::<f64>();
        ((0..experts).filter(|&expert| open[expert]).collect(), lost / whole.max(f64::MIN_POSITIVE))
    }

    /// Where a token goes if only some experts are there.
    fn weights(&self, token: usize, open: &[bool]) -> Weights {
        let scores = self.scores(token);
        let chosen = self.routing.choose_for(scores, self.bias.as_ref().map(Tensor::host), Some(open));
        let there = scores.iter().zip(open).map(|(&score, &open)| if open { score } else { f32::NEG_INFINITY });
        let weights = self.routing.weigh(&there.collect::<Vec<_>>(), &chosen);
        chosen.into_iter().zip(weights).collect()
    }

    fn scores(&self, token: usize) -> &[f32] {
        &self.scores[token * self.routing.experts..(token + 1) * self.routing.experts]
    }

    /// What is known of a token, whose weights were others before.
    fn token(&self, token: usize, before: &Weights, open: &[bool]) -> Token {
        let (weights, scores) = (self.weights(token, open), self.scores(token));
        let there = scores.iter().zip(open).filter(|(_, open)| **open).map(|(&score, _)| f64::from(score));
        let most = there.clone().fold(f64::NEG_INFINITY, f64::max);
        Token {
            deciding: self.routing.deciding(scores, self.bias.as_ref().map(Tensor::host), open),
            with: self.product(token, before, &weights),
            own: self.product(token, &weights, &weights),
            sum: most + there.map(|score| (score - most).exp()).sum::<f64>().ln(),
            weights,
        }
    }

    /// The square of what the output of a token changes if one more expert goes. `open` are those that are left then.
    fn loss_without(&self, token: usize, expert: usize, (dense, now): (&Token, &Token), open: &[bool]) -> f64 {
        if now.deciding.contains(&(expert as u32)) {
            let weights = self.weights(token, open);
            let with = self.product(token, &dense.weights, &weights);
            return dense.own - 2.0 * with + self.product(token, &weights, &weights);
        }
        // it goes where it went; but shares of all grow if there are fewer
        let grows = self.routing.scoring == Scoring::Softmax && !self.routing.normalised;
        let share = if grows { (f64::from(self.scores(token)[expert]) - now.sum).exp() } else { 0.0 };
        let growth = 1.0 / (1.0 - share);
        dense.own - 2.0 * growth * now.with + growth * growth * now.own
    }

    /// Σ a_i·b_j·G_ij of a token.
    fn product(&self, token: usize, a: &Weights, b: &Weights) -> f64 {
        let experts = self.routing.experts;
        let products = &self.products[token * experts * experts..(token + 1) * experts * experts];
        let row = |&(i, a): &(u32, f64)| {
            let of = |&(j, b): &(u32, f64)| b * f64::from(products[i as usize * experts + j as usize]);
            a * b.iter().map(of).sum::<f64>()
        };
        a.iter().map(row).sum()
    }
}

/// Where a token goes at a time.
#[derive(Clone)]
struct Token {
    weights: Weights,
    /// Experts without whom it would go elsewhere.
    deciding: Vec<u32>,
    /// The product of its output with that of the dense layer, and with itself.
    with: f64,
    own: f64,
    /// The logarithm of the sum of the powers of the scores of all experts that are there.
    sum: f64,
}

#[cfg(test)]
mod tests {
    use super::Layer;
    use crate::autograd::{Groups, Routing, Scoring};
    use crate::tensor::Tensor;

    const EXPERTS: usize = 8;
    const TOKENS: usize = 40;
    const WIDTH: usize = 5;

    /// Numbers that look random.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// A layer, and what its experts give [tokens, experts, width].
    fn layer(routing: Routing, bias: bool, seed: u64) -> (Layer, Vec<f32>) {
        let outputs = numbers(TOKENS * EXPERTS * WIDTH, 3 * seed);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let of_token = |all: &[f32]| -> Vec<f32> {
            all.chunks(WIDTH).flat_map(|a| all.chunks(WIDTH).map(move |b| dot(a, b))).collect()
        };
        let products = outputs.chunks(EXPERTS * WIDTH).flat_map(of_token).collect();
        let bias = bias.then(|| Tensor::new([EXPERTS], numbers(EXPERTS, 3 * seed + 1)));
        (Layer { routing, bias, scores: numbers(TOKENS * EXPERTS, 3 * seed + 2), products }, outputs)
    }

    /// The square of the change of the output, computed from outputs, of a layer whose router has only some rows.
    fn naive(layer: &Layer, outputs: &[f32], open: &[bool]) -> f64 {
        let there: Vec<usize> = (0..EXPERTS).filter(|&expert| open[expert]).collect();
        let mix = |token: usize, there: &[usize]| {
            // in groups that are not of one size yet, an expert that is not there counts least
            let all: Vec<usize> = (0..EXPERTS).collect();
            let rows = if layer.routing.groups.is_some() { &all[..] } else { there };
            let is_there = |expert: usize| there.contains(&expert);
            let of = |numbers: &[f32], least: f32| {
                rows.iter().map(|&expert| if is_there(expert) { numbers[expert] } else { least }).collect::<Vec<f32>>()
            };
            let scores = of(&layer.scores[token * EXPERTS..(token + 1) * EXPERTS], -99.0);
            let bias = layer.bias.as_ref().map(|bias| of(bias.host(), -99.0));
            let routing = Routing { experts: rows.len(), ..layer.routing };
            let chosen = routing.choose_for(&scores, bias.as_deref(), None);
            let weights = routing.weigh(&scores, &chosen);
            let mut y = vec![0.0; WIDTH];
            for (&place, weight) in chosen.iter().zip(weights) {
                let output = &outputs[(token * EXPERTS + rows[place as usize]) * WIDTH..][..WIDTH];
                y.iter_mut().zip(output).for_each(|(y, &x)| *y += weight * f64::from(x));
            }
            y
        };
        let all: Vec<usize> = (0..EXPERTS).collect();
        let of_token = |token: usize| {
            let [before, after] = [mix(token, &all), mix(token, &there)];
            before.iter().zip(after).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        };
        (0..TOKENS).map(of_token).sum()
    }

    #[test]
    fn the_loss_is_that_of_the_smaller_layer_and_every_step_takes_the_least() {
        let plain = Routing {
            experts: EXPERTS,
            top_k: 2,
            scoring: Scoring::Softmax,
            normalised: true,
            factor: 1.5,
            groups: None,
        };
        let groups = Some(Groups { count: 2, kept: 1, best: 2 });
        let apart = Routing { scoring: Scoring::Sigmoid, normalised: false, groups, ..plain };
        let kinds = [(plain, false), (Routing { normalised: false, ..plain }, false), (apart, true)];
        for (seed, (routing, bias)) in (0..5).flat_map(|seed| kinds.map(|kind| (seed, kind))) {
            let (layer, outputs) = layer(routing, bias, seed);
            let whole: f64 = naive_square(&layer, &outputs);
            let mut open = [true; EXPERTS];
            for kept in (4..EXPERTS).rev() {
                // one after the other, as long as groups are to be of one size
                let groups = routing.groups.map_or(1, |groups| groups.count);
                let may_go = |&expert: &usize| {
                    let group = expert / (EXPERTS / groups) * (EXPERTS / groups);
                    let there = open[group..group + EXPERTS / groups].iter().filter(|open| **open).count();
                    open[expert] && there > 4 / groups
                };
                let without = |expert: usize| {
                    let mut other = open;
                    other[expert] = false;
                    naive(&layer, &outputs, &other)
                };
                let candidates: Vec<usize> = (0..EXPERTS).filter(may_go).collect();
                let goes = candidates.iter().copied().min_by(|&a, &b| without(a).total_cmp(&without(b)));
                open[goes.expect("one may go")] = false;
                if groups > 1 && kept > 4 {
                    continue;
                }
                let (stay, lost) = layer.choose(kept);
                assert_eq!(stay, (0..EXPERTS).filter(|&expert| open[expert]).collect::<Vec<_>>(), "{routing:?} {kept}");
                let loss = naive(&layer, &outputs, &open);
                assert!((lost * whole - loss).abs() < 1e-4 * whole, "{lost} of {whole} instead of {loss}");
            }
        }
    }

    /// The square of the output.
    fn naive_square(layer: &Layer, outputs: &[f32]) -> f64 {
        let of_token = |token: usize| {
            let mut y = [0.0; WIDTH];
            for (expert, weight) in layer.weights(token, &[true; EXPERTS]) {
                let output = &outputs[(token * EXPERTS + expert as usize) * WIDTH..][..WIDTH];
                y.iter_mut().zip(output).for_each(|(y, &x)| *y += weight * f64::from(x));
            }
            y.iter().map(|y| y * y).sum::<f64>()
        };
        (0..TOKENS).map(of_token).sum()
    }
}
