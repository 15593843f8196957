//! Windows of several segments against PyTorch's gradients; parameter sets on the tiny checkpoint of every family.

mod gradients;
mod training;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use lopper_kernels::Precision;
use safetensors::SafeTensors;

use super::{Layers, Parameters, Segment, Settings, Window};
use crate::autograd::RotaryTable;
use crate::autograd::optimizer::{Decay, OptimizerKind};
use crate::checkpoint::Checkpoint;
use crate::model::{Block, BranchId, Decoder};
use crate::sparsity::{Mask, Pattern, Scope};
use crate::tensor::Tensor;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Tensors of f32; ids are numbers here too.
fn golden(name: &str) -> HashMap<String, Tensor> {
    let bytes = std::fs::read(fixtures().join(name).with_extension("safetensors")).expect("golden");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let read = |(name, view): (String, safetensors::tensor::TensorView)| {
        let words = view.data().as_chunks::<4>().0.iter();
        let numbers = match view.dtype() {
            safetensors::Dtype::U32 => words.map(|&word| u32::from_le_bytes(word) as f32).collect(),
            _ => words.map(|&word| f32::from_le_bytes(word)).collect(),
        };
        (name, Tensor::new(view.shape(), numbers))
    };
    file.tensors().into_iter().map(read).collect()
}

fn open(family: &str) -> Decoder {
    Decoder::open(Checkpoint::open(&fixtures().join(family)).expect("fixture")).expect("a decoder")
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
    tensor.host().to_vec()
}

/// `‖a − b‖ / ‖b‖`
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.host().iter().zip(b.host()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (difference / b.host().iter().map(|&b| f64::from(b).powi(2)).sum::<f64>().max(1e-30)).sqrt()
}

/// Halves every matrix of a block by magnitude.
fn halve(block: &mut Block) -> BTreeMap<usize, Mask> {
    let pattern = Pattern::Unstructured { sparsity: 0.5, scope: Scope::Row };
    let mut masks = BTreeMap::new();
    for (index, linear) in block.spec.clone().linears.iter().enumerate() {
        let weight = &mut block.tensors[linear.weight];
        let mut scores = weight.clone();
        scores.host_mut().iter_mut().for_each(|w| *w = w.abs());
        let mask = Mask::from_scores(&scores, &pattern);
        lopper_kernels::apply_mask(weight.host_mut(), mask.as_slice());
        masks.insert(index, mask);
    }
    masks
}

/// Masks that keep everything.
fn whole(block: &Block) -> BTreeMap<usize, Mask> {
    let linears = block.spec.linears.iter().enumerate();
    linears.map(|(index, linear)| (index, Mask::new(linear.shape[1], vec![1; linear.weights()]))).collect()
}

/// The first `stages` stages of a block, all of whose branches train.
fn stages<'a>(block: &'a mut Block, stages: usize, masks: &'a BTreeMap<usize, Mask>) -> Segment<'a> {
    let trained: Vec<BranchId> = block.spec.branch_ids(0).filter(|branch| branch.at.stage < stages).collect();
    Segment { block, layers: Layers::Stages(0..stages, trained), masks }
}

/// A whole model as a window.
fn all<'a>(
    blocks: &'a mut [Block],
    masks: &'a [BTreeMap<usize, Mask>],
    (finish, none): (&'a mut Block, &'a BTreeMap<usize, Mask>),
    rotary: &'a [RotaryTable],
) -> Window<'a> {
    let of_blocks = blocks.iter_mut().zip(masks).map(|(block, masks)| {
        let count = block.spec.stages.len();
        stages(block, count, masks)
    });
    let mut segments: Vec<Segment> = of_blocks.collect();
    segments.push(stages(finish, 1, none));
    Window { segments, rotary, drifts: false }
}
