//! Windows of several segments against PyTorch's gradients; parameter sets on the tiny checkpoint of every family.

mod gradients;
mod training;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use lopper_kernels::Precision;

use super::{Layers, Parameters, Segment, Settings, Window};
use crate::autograd::RotaryTable;
use crate::autograd::optimizer::{Decay, OptimizerKind};
use crate::checkpoint::Checkpoint;
use crate::model::{Block, Decoder, LinearRole, Norm, Part};
use crate::sparsity::{Mask, Pattern, Scope};
use crate::tensor;

const BOTH: &[Part] = &[Part::Attention, Part::Mlp];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixtures().join(name).with_extension("safetensors"), &Device::Cpu).expect("golden")
}

fn open(family: &str) -> Decoder {
    Decoder::open(Checkpoint::open(&fixtures().join(family)).expect("fixture"), Device::Cpu).expect("a decoder")
}

fn settings() -> Settings {
    Settings {
        parameters: Parameters::FULL,
        rank: 4,
        alpha: 4.0,
        optimizer: OptimizerKind::AdamW,
        decay: Decay::Linear,
        epochs: 2,
        batch: 2,
        accumulate: 1,
        learning_rate: 0.01,
        warm_up: 0.1,
        weight_decay: 0.0,
        clip: None,
        patience: None,
        precision: Precision::F32,
        seed: 0,
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("numbers")
}

/// `‖a − b‖ / ‖b‖`
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (numbers(a), numbers(b));
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (difference / b.iter().map(|&b| f64::from(b).powi(2)).sum::<f64>().max(1e-30)).sqrt()
}

/// Halves every matrix of a block by magnitude.
fn halve(block: &mut Block) -> BTreeMap<LinearRole, Mask> {
    let pattern = Pattern::Unstructured { sparsity: 0.5, scope: Scope::Row };
    let mut masks = BTreeMap::new();
    for role in LinearRole::ALL {
        let linear = block.linear_mut(role);
        let (d_out, d_in) = linear.weight.dims2().expect("matrix");
        let weight = tensor::Tensor::new([d_out, d_in], numbers(&linear.weight));
        let scores = weight.host().iter().map(|w| w.abs()).collect();
        let mask = Mask::from_scores(&tensor::Tensor::new([d_out, d_in], scores), &pattern);
        let weight = mask.apply(weight).into_vec();
        linear.weight = Tensor::from_vec(weight, (d_out, d_in), &Device::Cpu).expect("tensor");
        masks.insert(role, mask);
    }
    masks
}

/// Masks that keep everything.
fn whole(block: &Block) -> BTreeMap<LinearRole, Mask> {
    let keep = |role| {
        let (d_out, d_in) = block.linear(role).weight.dims2().expect("matrix");
        (role, Mask::new(d_in, vec![1; d_out * d_in]))
    };
    LinearRole::ALL.into_iter().map(keep).collect()
}

/// A whole model as a window.
fn all<'a>(
    blocks: &'a mut [Block],
    masks: &'a [BTreeMap<LinearRole, Mask>],
    (norm, none): (&'a mut Norm, &'a BTreeMap<LinearRole, Mask>),
    rotary: &'a RotaryTable,
) -> Window<'a> {
    let halves =
        blocks.iter_mut().zip(masks).map(|(block, masks)| Segment { layers: Layers::Halves(block, BOTH), masks });
    let mut segments: Vec<Segment> = halves.collect();
    segments.push(Segment { layers: Layers::Norm(norm), masks: none });
    Window { segments, rotary }
}
