//! Optimisers over a set of tensors, each with a mask whose pruned entries never move, and their learning-rate schedules.

mod adafactor;
mod adamw;
mod momentum;
mod schedule;

use rayon::prelude::*;

use crate::autograd::Gradients;
use crate::error::Result;
use crate::sparsity::Mask;
use crate::tensor::{Tensor, misfit};

pub use schedule::{Decay, RateSchedule};

/// Elements summed by one task.
const CHUNK: usize = 16 * 1024;

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW: two moments per weight.
    AdamW,
    /// Gradient descent with momentum, each tensor's gradient scaled to one size: one moment per weight.
    Sgd,
    /// Adafactor: a moment per row and column.
    Adafactor,
}

/// A tensor that trains.
struct Trained {
    tensor: Tensor,
    mask: Option<Mask>,
    /// Factor of the learning rate.
    scale: f32,
    rule: Box<dyn Rule>,
}

/// What a step is made of.
struct Update<'a> {
    weight: &'a mut [f32],
    gradient: &'a [f32],
    /// 1 where a weight moves.
    mask: Option<&'a [u8]>,
    /// Learning rate of this tensor.
    rate: f32,
    weight_decay: f32,
    /// Counted from 1.
    step: u32,
}

/// The state of one tensor, and how it moves.
trait Rule {
    fn update(&mut self, update: Update);
}

/// A set of tensors and how they move. Each has a key, its number in the order in which they were added.
pub struct Optimizer {
    kind: OptimizerKind,
    trained: Vec<Trained>,
    weight_decay: f32,
    step: u32,
}

impl Optimizer {
    /// An optimiser of nothing yet.
    pub fn new(kind: OptimizerKind, weight_decay: f32) -> Self {
        Self { kind, trained: Vec::new(), weight_decay, step: 0 }
    }

    /// Adds a tensor and returns its key. Where `mask` is false it stays as it is. Its learning rate is multiplied by `scale`.
    pub fn add(&mut self, tensor: Tensor, mask: Option<Mask>, scale: f32) -> usize {
        let rule: Box<dyn Rule> = match self.kind {
            OptimizerKind::AdamW => Box::new(adamw::Moments::new(&tensor)),
            OptimizerKind::Sgd => Box::new(momentum::Velocity::new(&tensor)),
            OptimizerKind::Adafactor => Box::new(adafactor::Factors::new(&tensor, mask.as_ref())),
        };
        self.trained.push(Trained { tensor, mask, scale, rule });
        self.trained.len() - 1
    }

    /// Whether nothing trains.
    pub fn is_empty(&self) -> bool {
        self.trained.is_empty()
    }

    /// How many tensors train.
    pub fn len(&self) -> usize {
        self.trained.len()
    }

    /// The tensor with this key, as it is now.
    pub fn tensor(&self, key: usize) -> &Tensor {
        &self.trained[key].tensor
    }

    /// The tensors that train, in the order of their keys.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.trained.iter().map(|trained| &trained.tensor)
    }

    /// The same, to be set.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.trained.iter_mut().map(|trained| &mut trained.tensor)
    }

    /// Moves every tensor one step against its gradient; a tensor without gradient stays.
    ///
    /// # Errors
    /// If a gradient's shape is not its tensor's.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f32) -> Result<()> {
        self.step += 1;
        let (weight_decay, step) = (self.weight_decay, self.step);
        for (key, Trained { tensor, mask, scale, rule }) in self.trained.iter_mut().enumerate() {
            let Some(gradient) = gradients.of(key) else { continue };
            if gradient.shape() != tensor.shape() {
                return Err(misfit(format!("a gradient {:?} of {:?}", gradient.shape(), tensor.shape())));
            }
            let (rate, mask) = (learning_rate * *scale, mask.as_ref().map(Mask::as_slice));
            let (weight, gradient) = (tensor.host_mut(), gradient.host());
            rule.update(Update { weight, gradient, mask, rate, weight_decay, step });
        }
        Ok(())
    }

    /// ℓ₂ norm of all gradients together, those of pruned weights left out.
    pub fn gradient_norm(&self, gradients: &Gradients) -> f64 {
        let squares = self.trained.iter().enumerate().filter_map(|(key, trained)| {
            let mask = trained.mask.as_ref().map(Mask::as_slice);
            Some(kept_squares(gradients.of(key)?.host(), mask).0)
        });
        squares.sum::<f64>().sqrt()
    }
}

/// Sum of squares and number of the entries that a mask keeps, the same for any number of threads.
fn kept_squares(values: &[f32], mask: Option<&[u8]>) -> (f64, usize) {
    let squares = |values: &[f32]| values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let Some(mask) = mask else {
        let sums: Vec<f64> = values.par_chunks(CHUNK).map(squares).collect();
        return (sums.iter().sum(), values.len());
    };
    let kept = |values: &[f32], mask: &[u8]| {
        let pairs = values.iter().zip(mask);
        pairs.fold((0.0, 0), |(sum, count), (&v, &kept)| {
            let kept = usize::from(kept);
            (sum + f64::from(v) * f64::from(v) * kept as f64, count + kept)
        })
    };
    let sums: Vec<(f64, usize)> =
        values.par_chunks(CHUNK).zip(mask.par_chunks(CHUNK)).map(|(values, mask)| kept(values, mask)).collect();
    sums.iter().fold((0.0, 0), |(sum, count), (s, c)| (sum + s, count + c))
}
