//! What training does, for every parameter set on the tiny checkpoint of every family.

use std::collections::BTreeMap;

use lopper_kernels::Precision;

use super::super::{Goal, Loss, Matching, Outcome, Prediction, Settings, Window, WindowData, reconstruct};
use crate::autograd::optimizer::{Decay, OptimizerKind};
use crate::autograd::{RotaryTable, Tape};
use crate::calibration::{HiddenDtype, HiddenStates, Storage};
use crate::model::{Block, BlockSpec, Context, Decoder, FAMILIES, Kind, NoTap, Sequences};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

use super::{all, distance, halve, numbers, open, settings, stages};

const SETS: [&str; 9] =
    ["full", "weights", "bias", "norm", "lora", "masklora+norm", "scalelora", "spp+bias", "full+masklora"];

/// A tiny checkpoint, its first two blocks halved, and what the dense ones make of random texts.
struct Tiny {
    decoder: Decoder,
    blocks: Vec<Block>,
    masks: Vec<BTreeMap<usize, Mask>>,
    inputs: HiddenStates,
    targets: Vec<HiddenStates>,
    rotary: Vec<RotaryTable>,
}

impl Tiny {
    fn new(family: &str) -> Self {
        let decoder = open(family);
        let vocabulary = decoder.spec().vocabulary as u32;
        let text = |window: u32| (0..12).map(|token| (token * token * 7 + window * 13) % vocabulary).collect();
        let tokens: Vec<Vec<u32>> = (0..6).map(text).collect();
        let inputs = HiddenStates::embed(&decoder, &tokens, HiddenDtype::F32, &Storage::Memory).expect("embedded");
        let rotary = decoder.rotary(12);
        let mut blocks: Vec<Block> = [0, 1].map(|index| decoder.load_block(index).expect("block")).into();
        let (mut states, mut targets) = (inputs.clone(), Vec::new());
        for (block, stage) in
            blocks.iter().flat_map(|block| (0..block.spec.stages.len()).map(move |stage| (block, stage)))
        {
            let forward = |x: &Tensor, sequences: &Sequences| {
                let (mut tape, context) = (Tape::new(Precision::F32), Context { sequences, rotary: &rotary });
                let y = block.stage(stage, &block.constants(), &mut tape, &x.into(), context, &mut NoTap)?;
                Ok((y.tensor().clone(), ()))
            };
            states.advance(2, forward, |_, _, ()| Ok(())).expect("forward");
            targets.push(states.clone());
        }
        let masks = blocks.iter_mut().map(halve).collect();
        Self { decoder, blocks, masks, inputs, targets, rotary }
    }

    /// Stages of a block.
    fn stages(&self) -> usize {
        self.blocks[0].spec.stages.len()
    }

    /// Trains so many stages from the first on.
    fn train(&mut self, count: usize, loss: Loss, settings: &Settings) -> Outcome {
        let per_block = self.stages();
        let blocks = self.blocks.iter_mut().zip(&self.masks).take(count.div_ceil(per_block)).enumerate();
        let segments =
            blocks.map(|(index, (block, masks))| stages(block, (count - per_block * index).min(per_block), masks));
        let mut window = Window { segments: segments.collect(), rotary: &self.rotary, drifts: false };
        let objective = Matching { targets: &self.targets[count - 1], loss };
        let data = WindowData { inputs: &self.inputs, objective: &objective, train: 4 };
        reconstruct(&mut window, &data, settings, &mut |_| ()).expect("trained")
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        self.blocks.iter().flat_map(|block| block.tensors.iter().map(numbers)).collect()
    }

    /// Whether every pruned weight is zero.
    fn is_masked(&self) -> bool {
        self.blocks.iter().zip(&self.masks).all(|(block, masks)| {
            masks.iter().all(|(&linear, mask)| {
                block.weight(linear).host().iter().zip(mask.as_slice()).all(|(&w, &kept)| kept == 1 || w == 0.0)
            })
        })
    }
}

/// What kinds of tensors the first stages have.
fn trained(spec: &BlockSpec, stages: usize) -> Vec<Kind> {
    let branches = spec.stages.iter().take(stages).flat_map(|stage| &stage.branches);
    let tensors = branches.flat_map(|branch| {
        let linears = branch.linears.iter().map(|&linear| &spec.linears[linear]);
        linears.flat_map(|linear| [Some(linear.weight), linear.bias]).flatten().chain(branch.others.iter().copied())
    });
    tensors.map(|tensor| spec.tensors[tensor].kind).collect()
}

#[test]
fn every_parameter_set_trains_every_family_and_keeps_the_mask() {
    let (mut found, mut tried) = (0, 0);
    for family in FAMILIES.iter().map(|family| family.name) {
        for set in SETS {
            for blocks in 0..3 {
                let mut tiny = Tiny::new(family);
                // a stage, a block, two blocks
                let stages = if blocks == 0 { 1 } else { blocks * tiny.stages() };
                let before = tiny.weights();
                let settings = Settings { parameters: set.parse().expect("known"), ..settings() };
                let outcome = tiny.train(stages, Loss::Mse, &settings);
                let what = format!("{family} {set} {stages}: {outcome:?}");
                assert!(tiny.is_masked(), "{what}");
                let whole = stages.div_ceil(tiny.stages());
                let blocks = tiny.blocks.iter().take(whole).enumerate();
                let trained: Vec<Kind> =
                    blocks.flat_map(|(place, block)| trained(&block.spec, stages - place * tiny.stages())).collect();
                let none = |kind| !trained.contains(&kind);
                if set == "bias" && none(Kind::Bias) || set == "norm" && none(Kind::Norm) {
                    assert!(outcome.losses.is_empty() && tiny.weights() == before, "{what}");
                    continue;
                }
                assert!(outcome.held_out_after <= outcome.held_out_before, "{what}");
                // a random model need not find a way that helps other texts: it is then left as it was
                assert_eq!(outcome.losses.is_empty(), outcome.restored == 3, "{what}");
                if set != "bias" {
                    assert_eq!(outcome.losses.is_empty(), tiny.weights() == before, "{what}");
                }
                let falls = outcome.losses.is_sorted_by(|a, b| b < a);
                assert!(falls, "{what}");
                found += usize::from(outcome.restored == 0);
                tried += 1;
            }
        }
    }
    assert!(4 * found >= 3 * tried, "{found} of {tried} found a way without a lower rate");
}

#[test]
fn a_rate_of_zero_is_the_identity() {
    for set in SETS {
        for optimizer in [OptimizerKind::AdamW, OptimizerKind::Sgd, OptimizerKind::Adafactor] {
            let mut tiny = Tiny::new("qwen2");
            let before = tiny.weights();
            let parameters = set.parse().expect("known");
            tiny.train(
                4,
                Loss::Cosine,
                &Settings { parameters, optimizer, learning_rate: 0.0, epochs: 1, ..settings() },
            );
            assert!(tiny.weights() == before, "{set} {optimizer:?}");
        }
    }
}

#[test]
fn every_loss_and_optimiser_finds_the_way_down() {
    for optimizer in [OptimizerKind::AdamW, OptimizerKind::Sgd, OptimizerKind::Adafactor] {
        for loss in [Loss::Mse, Loss::MseNormalized, Loss::Cosine] {
            for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
                let mut tiny = Tiny::new("llama");
                let outcome = tiny.train(2, loss, &Settings { optimizer, decay, clip: Some(10.0), ..settings() });
                assert!(outcome.held_out_after < outcome.held_out_before, "{optimizer:?} {loss:?}: {outcome:?}");
                assert!(tiny.is_masked());
            }
        }
    }
}

#[test]
fn a_first_step_changes_a_weight_by_the_same_share_whatever_trains() {
    for (set, rank) in [("weights", 1), ("lora", 2), ("lora", 16), ("masklora", 8), ("scalelora", 2), ("spp", 8)] {
        let mut tiny = Tiny::new("llama");
        let before = tiny.blocks[0].clone();
        let settings = Settings {
            parameters: set.parse().expect("known"),
            rank,
            alpha: rank as f32,
            // one step of the whole rate
            epochs: 1,
            batch: 4,
            warm_up: 0.0,
            ..settings()
        };
        tiny.train(1, Loss::Mse, &settings);
        for linear in [0, 2, 3] {
            let moved = distance(tiny.blocks[0].weight(linear), before.weight(linear));
            assert!((0.004..0.02).contains(&moved), "{set} {rank} {linear}: {moved}");
        }
    }
}

#[test]
fn batches_that_accumulate_are_one_larger_batch() {
    let train = |batch, accumulate| {
        let mut tiny = Tiny::new("llama");
        tiny.train(2, Loss::Mse, &Settings { batch, accumulate, epochs: 1, ..settings() });
        tiny.weights()
    };
    let (large, small) = (train(4, 1), train(2, 2));
    for (large, small) in large.iter().zip(&small) {
        let error: f32 = large.iter().zip(small).map(|(a, b)| (a - b).abs()).sum::<f32>() / large.len() as f32;
        assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn steps_are_smaller_where_more_halves_train_in_a_row() {
    let settings = Settings { learning_rate: 0.002, ..settings() };
    for (stages, rate) in [(1, 0.002), (2, 0.002 / 2_f32.sqrt()), (4, 0.001)] {
        let outcome = Tiny::new("llama").train(stages, Loss::Mse, &settings);
        assert_eq!((outcome.restored, outcome.learning_rate), (0, rate), "{stages} stages");
    }
}

#[test]
fn the_best_epoch_is_kept_and_patience_ends_training() {
    // a constant rate that is too high soon makes it worse again
    let noisy = Settings { learning_rate: 0.2, decay: Decay::Constant, epochs: 12, ..settings() };
    let mut tiny = Tiny::new("llama");
    let outcome = tiny.train(2, Loss::Mse, &noisy);
    assert_eq!(outcome.held_out.len(), 12);
    let best = outcome.held_out.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(outcome.learning_rate > 0.0 && outcome.held_out_after <= Some(best), "{outcome:?}");
    assert!(outcome.held_out.last() > Some(&best), "the last epoch should not be the best: {outcome:?}");
    let again = tiny.train(2, Loss::Mse, &Settings { learning_rate: 0.0, epochs: 1, ..noisy });
    assert_eq!(again.held_out_before, outcome.held_out_after, "what was kept is what was measured");
    let outcome = Tiny::new("llama").train(2, Loss::Mse, &Settings { patience: Some(1), ..noisy });
    assert!(outcome.held_out.len() < 12, "{outcome:?}");
}

#[test]
fn a_model_learns_what_it_is_taught() {
    let mut tiny = Tiny::new("mistral");
    let vocabulary = tiny.decoder.spec().vocabulary as u32;
    let tokens: Vec<Vec<u32>> =
        (0..6).map(|window| (0..12).map(|token| (token * token * 7 + window * 13) % vocabulary).collect()).collect();
    let head = tiny.decoder.head_weights().expect("head");
    let teacher = tiny.targets.pop().expect("four stages");
    let blocks = tiny.blocks.clone();
    for goal in [Goal::NextToken, Goal::Probabilities(&teacher, 2.0), Goal::Logits(&teacher)] {
        let (mut blocks, none) = (blocks.clone(), BTreeMap::new());
        let mut finish = tiny.decoder.load_finish().expect("readable").expect("a norm");
        let mut window = all(&mut blocks, &tiny.masks, (&mut finish, &none), &tiny.rotary);
        let objective = Prediction { head: &head, tokens: &tokens, goal };
        let data = WindowData { inputs: &tiny.inputs, objective: &objective, train: 4 };
        let settings = Settings { learning_rate: 0.005, ..settings() };
        let outcome = reconstruct(&mut window, &data, &settings, &mut |_| ()).expect("trained");
        assert!(outcome.losses[1] < outcome.losses[0], "{outcome:?}");
        assert!(outcome.held_out_after <= outcome.held_out_before, "{outcome:?}");
    }
}
