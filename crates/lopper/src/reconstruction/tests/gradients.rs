//! Gradients of windows of several segments, and of the whole model, against PyTorch's.

use std::collections::BTreeMap;

use lopper_kernels::Precision;

use super::super::trainee::Trainee;
use super::super::{Goal, Objective, Prediction, Window};
use crate::autograd::{Gradients, Tape, Value};
use crate::calibration::{HiddenDtype, HiddenStates, Storage};
use crate::error::Result;
use crate::model::{Block, Sequences};
use crate::tensor::Tensor;

use super::{all, distance, golden, open, settings, stages, whole};

#[test]
fn gradients_of_consecutive_blocks_are_those_of_pytorch() {
    let (decoder, golden) = (open("llama"), golden("window/blocks"));
    let hidden = decoder.spec().hidden;
    let rows = |name: &str| golden[name].clone().reshape([48, hidden]).expect("rows");
    let mut blocks = [1, 2].map(|index| decoder.load_block(index).expect("block"));
    let masks = blocks.each_ref().map(whole);
    let rotary = decoder.rotary(24);
    let mut names = Names::of(&blocks, &masks);
    for split in [false, true] {
        let segments = blocks.iter_mut().zip(&masks).map(|(block, masks)| stages(block, 2, masks));
        let mut window = Window { segments: segments.collect(), rotary: &rotary, drifts: false };
        let trainee = Trainee::new(&mut window, &settings()).expect("trainee");
        let objective = Fixed { target: rows("target"), split };
        let (mut scale, mut gradients) = (Some(1.0 / (48 * hidden) as f32), Gradients::default());
        let sequences = Sequences::new([24, 24]);
        let batch = (rows("x"), &sequences, [0usize, 1].as_slice());
        let loss = window.differentiate(&trainee, &objective, batch, &mut scale, 1.0, &mut gradients).expect("loss");
        trainee.merge(&mut window).expect("merged");
        let want = f64::from(golden["loss"].host()[0]);
        assert!((loss - want).abs() < 1e-4 * want, "{loss} against {want}");
        assert_eq!(names.0.len(), 18);
        for (key, name) in names.0.iter().enumerate() {
            let want = &golden[&format!("grad.{}", name.trim_start_matches("model.layers."))];
            let error = distance(gradients.of(key).expect("a gradient"), want);
            assert!(error < 1e-4, "{name}: {error:.2e}");
        }
        names = Names::of(&blocks, &masks);
    }
}

/// Names of what trains, in the order of the keys.
struct Names(Vec<String>);

impl Names {
    fn of(blocks: &[Block], masks: &[BTreeMap<usize, crate::sparsity::Mask>]) -> Self {
        let mut names = Vec::new();
        for (block, masks) in blocks.iter().zip(masks) {
            let mut own = block.clone();
            let count = own.spec.stages.len();
            let places = stages(&mut own, count, masks).places();
            names.extend(places.iter().map(|place| block.name(place.tensor)));
        }
        Self(names)
    }
}

/// The squared error against one tensor, on the tape or with its gradient given.
struct Fixed {
    target: Tensor,
    split: bool,
}

impl Objective for Fixed {
    fn loss(&self, tape: &mut Tape, y: &Value, _: &[usize], scale: f32) -> Result<Value> {
        if !self.split {
            return tape.squared_error(y, &self.target, scale);
        }
        let mut difference = y.tensor().clone();
        difference.host_mut().iter_mut().zip(self.target.host()).for_each(|(y, target)| *y -= target);
        let loss = difference.host().iter().map(|d| d * d).sum::<f32>() * scale;
        difference.host_mut().iter_mut().for_each(|d| *d *= 2.0 * scale);
        tape.differentiated(y, loss, difference)
    }

    fn error(&self, _: &Tensor, _: &[usize], _: Precision) -> Result<(f64, usize)> {
        Ok((0.0, 0))
    }
}

#[test]
fn gradients_of_the_next_token_loss_are_those_of_pytorch() {
    let (decoder, golden) = (open("llama"), golden("window/model"));
    let ids: Vec<u32> = golden["ids"].host().iter().map(|&id| id as u32).collect();
    let tokens: Vec<Vec<u32>> = ids.chunks(24).map(<[u32]>::to_vec).collect();
    let inputs = HiddenStates::embed(&decoder, &tokens, HiddenDtype::F32, &Storage::Memory).expect("embedded");
    let count = decoder.spec().blocks.len();
    let mut blocks: Vec<Block> = (0..count).map(|index| decoder.load_block(index).expect("block")).collect();
    let (masks, none): (Vec<_>, _) = (blocks.iter().map(whole).collect(), BTreeMap::new());
    let mut finish = decoder.load_finish().expect("readable").expect("a norm");
    let (head, rotary) = (decoder.head_weights().expect("head"), decoder.rotary(24));
    let mut names = Names::of(&blocks, &masks);
    names.0.push(finish.name(0));
    let mut window = all(&mut blocks, &masks, (&mut finish, &none), &rotary);
    let trainee = Trainee::new(&mut window, &settings()).expect("trainee");
    let objective = Prediction { head: &head, tokens: &tokens, goal: Goal::NextToken };
    let (mut scale, mut gradients) = (Some(1.0 / 46.0), Gradients::default());
    let (x, sequences) = inputs.batch(&[0, 1]).expect("batch");
    let batch = (x, &sequences, [0usize, 1].as_slice());
    let loss = window.differentiate(&trainee, &objective, batch, &mut scale, 1.0, &mut gradients).expect("loss");
    let want = f64::from(golden["loss"].host()[0]);
    assert!((loss - want).abs() < 1e-5 * want, "{loss} against {want}");
    assert_eq!(names.0.len(), 9 * count + 1);
    for (key, name) in names.0.iter().enumerate() {
        let error = distance(gradients.of(key).expect("a gradient"), &golden[&format!("grad.{name}")]);
        assert!(error < 1e-4, "{name}: {error:.2e}");
    }
}
