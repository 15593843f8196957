//! Which experts stay, where the plan only says how many: of every layer greedily those without which its output on the calibration text
//! changes most.
//!
//! An expert that is gone leaves its tokens to others, and what the others count changes. What a token loses is the square of
//! Σ δ_e·f_e over the experts, δ the change of the weights and f what the experts make of it: δᵀ·G·δ with G_ij = f_i·f_j. So the G of every
//! token is computed once, and the loss without any set of experts follows, new routes included. (Lu et al. 2024, arXiv 2402.14800,
//! compare the outputs of the layer for all sets, of which there are too many beyond eight experts.)

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::job::Job;
use super::states::Passage;
use crate::autograd::Routing;
use crate::calibration::{HiddenStates, MOST_OUTPUTS, MOST_PRODUCTS, looked_at};
use crate::error::Result;
use crate::model::{Block, BranchId, Decoder, Operation, Sequences};
use crate::plan::Plan;
use crate::progress::Event;
use crate::report::Stage;
use crate::tensor::Tensor;
use lopper_kernels::{Precision, View, product};

/// The numbers of the experts that stay, by the number of the block; of the blocks that go themselves nothing.
pub(super) fn experts(
    job: &mut Job,
    plan: &Plan,
    model: &Decoder,
    (gone, keep): (&[usize], usize),
) -> Result<BTreeMap<usize, Vec<usize>>> {
    job.observer.event(Event::Stage { name: "choosing the experts that stay" });
    let passage = Passage::new(plan, model);
    let seen = looked_at(job.samples[0].len(), plan.calibration.samples);
    let mut states = HiddenStates::embed(model, &job.samples[..seen], plan.compute.hidden_states, &job.storage)?;
    let (mut chosen, blocks) = (BTreeMap::new(), model.spec().blocks.len());
    for index in 0..blocks {
        let block = model.load_block(index)?;
        model.prefetch_block(index + 1);
        for branch in block.spec.branch_ids(index) {
            if block.spec.routes(branch) && !gone.contains(&index) {
                let layer = || Ok(Layer::of(&block, branch, &passage, &states)?.map(|layer| layer.choose(keep)));
                let Some((kept, lost)) = job.timings.measure(Stage::Calibrate, layer)? else { continue };
                let line =
                    format!("block {index}: experts {kept:?} stay, without the others {lost:.4} of the output is lost");
                job.observer.event(Event::Detail(&line));
                chosen.insert(index, kept);
            }
            let is_last = branch.branch + 1 == block.spec.stages[branch.at.stage].branches.len();
            if is_last {
                job.timings.measure(Stage::Calibrate, || passage.stage(&mut states, &block, branch.at.stage))?;
            }
        }
        job.observer.event(Event::Progress((index + 1) as f64 / blocks as f64));
    }
    Ok(chosen)
}

/// Experts of a layer, and what they make of some tokens.
struct Layer {
    routing: Routing,
    /// What is added to scores where experts are chosen.
    bias: Option<Tensor>,
    /// [tokens, experts]
    scores: Vec<f32>,
    /// Products of what the experts give [tokens, experts, experts].
    products: Vec<f32>,
}

/// The experts of a token, and how much each counts.
type Weights = Vec<(u32, f64)>;

impl Layer {
    /// `None` without experts.
    fn of(block: &Block, branch: BranchId, passage: &Passage, states: &HiddenStates) -> Result<Option<Self>> {
        let operations = block.spec.branch(branch).program.instructions().iter().map(|one| &one.operation);
        let route = operations.into_iter().find_map(|operation| match operation {
            Operation::Route { routing, correction } => {
                Some((*routing, correction.map(|place| block.tensors[place].clone())))
            }
            _ => None,
        });
        let Some((routing, bias)) = route else { return Ok(None) };
        let experts = routing.experts;
        let (mut layer, mut row) = (Self { routing, bias, scores: Vec::new(), products: Vec::new() }, 0);
        let all: usize =
            (0..states.len()).map(|sequence| Ok(states.batch(&[sequence])?.0.shape()[0])).sum::<Result<usize>>()?;
        let step = all.div_ceil((MOST_PRODUCTS / (experts * experts)).max(1)).max(1);
        for sequence in 0..states.len() {
            let (x, _) = states.batch(&[sequence])?;
            let (tokens, width) = (x.shape()[0], x.width());
            // so many apart over all sequences
            let own: Vec<usize> = (0..tokens).filter(|token| (row + token).is_multiple_of(step)).collect();
            row += tokens;
            for own in own.chunks((MOST_OUTPUTS / (experts * width)).max(1)) {
                let rows = own.iter().flat_map(|&token| &x.host()[token * width..(token + 1) * width]).copied();
                let x = Tensor::new([own.len(), width], rows.collect());
                layer.add(block, branch, passage, &x)?;
            }
        }
        Ok(Some(layer))
    }

    /// Takes the rows of a batch in.
    fn add(&mut self, block: &Block, branch: BranchId, passage: &Passage, x: &Tensor) -> Result<()> {
        let sequences = Sequences::new([x.shape()[0]]);
        let (scores, outputs) = block.experts(branch, x, passage.context(&sequences))?;
        self.scores.extend_from_slice(scores.host());
        let of_token = |token: usize| {
            let of_expert =
                |output: &Tensor| output.host()[token * output.width()..(token + 1) * output.width()].to_vec();
            let rows: Vec<f32> = outputs.iter().flat_map(of_expert).collect();
            let rows = View::new(&rows, outputs.len(), rows.len() / outputs.len());
            product(rows, rows.t(), Precision::F32)
        };
        let products: Vec<Vec<f32>> = (0..x.shape()[0]).into_par_iter().map(of_token).collect();
        products.iter().for_each(|products| self.products.extend_from_slice(products));
        Ok(())
    }

    /// The experts that stay, and what share of the output is lost without the others.
    fn choose(&self, keep: usize) -> (Vec<usize>, f64) {
        let (experts, groups) = (self.routing.experts, self.routing.groups.map_or(1, |groups| groups.count));
        let (size, tokens) = (experts / groups, self.scores.len() / experts);
        let mut open = vec![true; experts];
        let dense: Vec<Weights> = (0..tokens).into_par_iter().map(|token| self.weights(token, &open)).collect();
        let (mut now, mut losses) = (dense.clone(), vec![0.0; tokens]);
        for _ in keep..experts {
            let in_group = |group: usize| open[group * size..(group + 1) * size].iter().filter(|open| **open).count();
            let may_go = |&expert: &usize| open[expert] && in_group(expert / size) > keep / groups;
            let candidates: Vec<usize> = (0..experts).filter(may_go).collect();
            let without = |expert: usize| {
                let mut open = open.clone();
                open[expert] = false;
                let of_token = |token: usize| {
                    // in groups others than its own may have been chosen because of it
                    let is_used = groups > 1 || now[token].iter().any(|(used, _)| *used as usize == expert);
                    if is_used { self.loss(token, &dense[token], &self.weights(token, &open)) } else { losses[token] }
                };
                (0..tokens).map(of_token).sum::<f64>()
            };
            let sums: Vec<f64> = candidates.par_iter().map(|&expert| without(expert)).collect();
            let least = (0..sums.len()).min_by(|&a, &b| sums[a].total_cmp(&sums[b]));
            let Some(goes) = least.map(|place| candidates[place]) else { break };
            open[goes] = false;
            now = (0..tokens).into_par_iter().map(|token| self.weights(token, &open)).collect();
            losses = (0..tokens).into_par_iter().map(|token| self.loss(token, &dense[token], &now[token])).collect();
        }
        let whole: f64 = dense.iter().enumerate().map(|(token, weights)| self.loss(token, weights, &Vec::new())).sum();
        let lost = losses.iter().sum::<f64>() / whole.max(f64::MIN_POSITIVE);
        ((0..experts).filter(|&expert| open[expert]).collect(), lost)
    }

    /// Where a token goes if only some experts are there.
    fn weights(&self, token: usize, open: &[bool]) -> Weights {
        let scores = &self.scores[token * open.len()..(token + 1) * open.len()];
        let scores: Vec<f32> =
            scores.iter().zip(open).map(|(&score, &open)| if open { score } else { f32::NEG_INFINITY }).collect();
        let chosen = self.routing.choose_for(&scores, self.bias.as_ref().map(Tensor::host));
        let weights = self.routing.weigh(&scores, &chosen);
        chosen.into_iter().zip(weights).collect()
    }

    /// The square of what the output of a token changes.
    fn loss(&self, token: usize, before: &Weights, after: &Weights) -> f64 {
        let mut change: BTreeMap<u32, f64> = before.iter().copied().collect();
        after.iter().for_each(|&(expert, weight)| *change.entry(expert).or_default() -= weight);
        let experts = self.routing.experts;
        let products = &self.products[token * experts * experts..(token + 1) * experts * experts];
        let row = |(&i, &a): (&u32, &f64)| {
            let of = |(&j, &b): (&u32, &f64)| b * f64::from(products[i as usize * experts + j as usize]);
            a * change.iter().map(of).sum::<f64>()
        };
        change.iter().map(row).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Layer;
    use crate::autograd::{Groups, Routing, Scoring};
    use crate::tensor::Tensor;

    const EXPERTS: usize = 6;
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
    fn layer(routing: Routing, bias: bool) -> (Layer, Vec<f32>) {
        let outputs = numbers(TOKENS * EXPERTS * WIDTH, 1);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let of_token = |all: &[f32]| -> Vec<f32> {
            all.chunks(WIDTH).flat_map(|a| all.chunks(WIDTH).map(move |b| dot(a, b))).collect()
        };
        let products = outputs.chunks(EXPERTS * WIDTH).flat_map(of_token).collect();
        let bias = bias.then(|| Tensor::new([EXPERTS], numbers(EXPERTS, 2)));
        (Layer { routing, bias, scores: numbers(TOKENS * EXPERTS, 3), products }, outputs)
    }

    /// The square of the change of the output, computed from outputs, of a layer whose router has only some rows.
    fn naive(layer: &Layer, outputs: &[f32], open: &[bool]) -> f64 {
        let there: Vec<usize> = (0..EXPERTS).filter(|&expert| open[expert]).collect();
        let mix = |token: usize, there: &[usize]| {
            let of = |numbers: &[f32]| there.iter().map(|&expert| numbers[expert]).collect::<Vec<f32>>();
            let scores = of(&layer.scores[token * EXPERTS..(token + 1) * EXPERTS]);
            let bias = layer.bias.as_ref().map(|bias| of(bias.host()));
            let routing = Routing { experts: there.len(), ..layer.routing };
            let chosen = routing.choose_for(&scores, bias.as_deref());
            let weights = routing.weigh(&scores, &chosen);
            let mut y = vec![0.0; WIDTH];
            for (&place, weight) in chosen.iter().zip(weights) {
                let output = &outputs[(token * EXPERTS + there[place as usize]) * WIDTH..][..WIDTH];
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
        let groups = Some(Groups { count: 2, kept: 1, best: 1 });
        let apart = Routing { scoring: Scoring::Sigmoid, normalised: false, groups, ..plain };
        for (routing, bias) in [(plain, false), (Routing { normalised: false, ..plain }, false), (apart, true)] {
            let (layer, outputs) = layer(routing, bias);
            let whole: f64 = naive_square(&layer, &outputs);
            let mut open = [true; EXPERTS];
            let mut kept = EXPERTS;
            while kept > 4 {
                // in groups one of each goes
                let step = if routing.groups.is_some() { 2 } else { 1 };
                kept -= step;
                let (stay, lost) = layer.choose(kept);
                assert_eq!(stay.len(), kept);
                let now: Vec<bool> = (0..EXPERTS).map(|expert| stay.contains(&expert)).collect();
                let loss = naive(&layer, &outputs, &now);
                assert!((lost * whole - loss).abs() < 1e-4 * whole, "{lost} of {whole} instead of {loss}");
                assert!((0..EXPERTS).all(|expert| open[expert] || !now[expert]), "who is gone stays gone");
                if step == 1 {
                    let others = (0..EXPERTS).filter(|&expert| open[expert]).map(|expert| {
                        let mut other = open;
                        other[expert] = false;
                        naive(&layer, &outputs, &other)
                    });
                    assert!(others.fold(f64::INFINITY, f64::min) > loss - 1e-4 * whole, "the least");
                }
                open.copy_from_slice(&now);
            }
        }
    }

    /// The square of the output.
    fn naive_square(layer: &Layer, outputs: &[f32]) -> f64 {
        let of_token = |token: usize| {
            let mut y = vec![0.0; WIDTH];
            for (expert, weight) in layer.weights(token, &[true; EXPERTS]) {
                let output = &outputs[(token * EXPERTS + expert as usize) * WIDTH..][..WIDTH];
                y.iter_mut().zip(output).for_each(|(y, &x)| *y += weight * f64::from(x));
            }
            y.iter().map(|y| y * y).sum::<f64>()
        };
        (0..TOKENS).map(of_token).sum()
    }
}
