//! Gradients of windows of several segments, and of the whole model, against PyTorch's.

use std::collections::BTreeMap;

use candle_core::Tensor;
use lopper_kernels::Precision;

use super::super::trainee::Trainee;
use super::super::{Goal, Layers, Objective, Prediction, Segment, Window};
use crate::autograd::{Gradients, Tape};
use crate::calibration::{HiddenDtype, HiddenStates, Storage};
use crate::model::{Block, Decoder, LinearId, LinearRole, Part, Sequences};

use super::{BOTH, all, distance, golden, numbers, open, settings, whole};

#[test]
fn gradients_of_consecutive_blocks_are_those_of_pytorch() {
    let (decoder, golden) = (open("llama"), golden("window/blocks"));
    let hidden = decoder.spec().hidden;
    let rows = |name: &str| golden[name].reshape(((), hidden)).expect("rows");
    let mut blocks = [1, 2].map(|index| decoder.load_block(index).expect("block"));
    let masks = blocks.each_ref().map(whole);
    let rotary = decoder.rotary(24).expect("angles");
    for split in [false, true] {
        let mut segments = Vec::new();
        for (block, masks) in blocks.iter_mut().zip(&masks) {
            segments.push(Segment { layers: Layers::Halves(block, BOTH), masks });
        }
        let mut window = Window { segments, rotary: &rotary };
        let trainee = Trainee::new(&mut window, &settings()).expect("trainee");
        let targets = rows("target");
        let objective = Fixed { target: targets, split };
        let (mut scale, mut gradients) = (Some(1.0 / (48 * hidden) as f32), Gradients::default());
        let sequences = Sequences::new([24, 24]);
        let batch = (rows("x"), &sequences, [0usize, 1].as_slice());
        let loss = window.differentiate(&trainee, &objective, batch, &mut scale, 1.0, &mut gradients).expect("loss");
        let want = f64::from(numbers(&golden["loss"])[0]);
        assert!((loss - want).abs() < 1e-4 * want, "{loss} against {want}");
        let mut compared = 0;
        for (index, block) in [1, 2].into_iter().zip(&blocks) {
            for (name, tensor) in tensors(block, index) {
                let want = &golden[&format!("grad.{index}.{name}")];
                let error = distance(gradients.of(&tensor).expect("a gradient"), want);
                assert!(error < 1e-4, "{index} {name}: {error:.2e}");
                compared += 1;
            }
        }
        assert_eq!(compared, 18);
    }
}

/// The squared error against one tensor, on the tape or with its gradient given.
struct Fixed {
    target: Tensor,
    split: bool,
}

impl Objective for Fixed {
    fn loss(
        &self,
        tape: &mut Tape,
        y: &crate::autograd::Value,
        _: &[usize],
        scale: f32,
    ) -> crate::error::Result<crate::autograd::Value> {
        if !self.split {
            return Ok(tape.squared_error(y, &self.target, scale)?);
        }
        let difference = (y.tensor() - &self.target)?;
        let loss = difference.sqr()?.sum_all()?.to_scalar::<f32>()? * scale;
        Ok(tape.differentiated(loss, vec![(y.clone(), (difference * f64::from(2.0 * scale))?)])?)
    }

    fn error(&self, _: &Tensor, _: &[usize], _: Precision) -> crate::error::Result<(f64, usize)> {
        Ok((0.0, 0))
    }
}

/// Name inside the block and tensor of everything that trains.
fn tensors(block: &Block, index: usize) -> Vec<(String, Tensor)> {
    let inside = |name: String| name.replace(&format!("model.layers.{index}."), "");
    let weight =
        |role| (inside(Decoder::weight_name(LinearId { block: index, role })), block.linear(role).weight.clone());
    let norm = |&part: &Part| (inside(Decoder::norm_name(index, part)), block.norm(part).weight.clone());
    LinearRole::ALL.into_iter().map(weight).chain(BOTH.iter().map(norm)).collect()
}

#[test]
fn gradients_of_the_next_token_loss_are_those_of_pytorch() {
    let (decoder, golden) = (open("llama"), golden("window/model"));
    let ids: Vec<u32> = golden["ids"].flatten_all().and_then(|ids| ids.to_vec1()).expect("ids");
    let tokens: Vec<Vec<u32>> = ids.chunks(24).map(<[u32]>::to_vec).collect();
    let inputs = HiddenStates::embed(&decoder, &tokens, HiddenDtype::F32, &Storage::Memory).expect("embedded");
    let mut blocks: Vec<Block> =
        (0..decoder.spec().blocks).map(|index| decoder.load_block(index).expect("block")).collect();
    let (masks, none): (Vec<_>, _) = (blocks.iter().map(whole).collect(), BTreeMap::new());
    let (mut norm, head) =
        (decoder.load_norm(Decoder::FINAL_NORM).expect("norm"), decoder.head_weight().expect("head"));
    let rotary = decoder.rotary(24).expect("angles");
    let mut window = all(&mut blocks, &masks, (&mut norm, &none), &rotary);
    let trainee = Trainee::new(&mut window, &settings()).expect("trainee");
    let objective = Prediction { head: &head, tokens: &tokens, goal: Goal::NextToken };
    let (mut scale, mut gradients) = (Some(1.0 / 46.0), Gradients::default());
    let (x, sequences) = inputs.batch(&[0, 1]).expect("batch");
    let batch = (x, &sequences, [0usize, 1].as_slice());
    let loss = window.differentiate(&trainee, &objective, batch, &mut scale, 1.0, &mut gradients).expect("loss");
    let want = f64::from(numbers(&golden["loss"])[0]);
    assert!((loss - want).abs() < 1e-5 * want, "{loss} against {want}");
    let close = |tensor: &Tensor, name: &str| {
        let error = distance(gradients.of(tensor).expect("a gradient"), &golden[&format!("grad.{name}")]);
        assert!(error < 1e-4, "{name}: {error:.2e}");
    };
    for (index, block) in blocks.iter().enumerate() {
        for (name, tensor) in tensors(block, index) {
            close(&tensor, &format!("model.layers.{index}.{name}"));
        }
    }
    close(&norm.weight, Decoder::FINAL_NORM);
}
