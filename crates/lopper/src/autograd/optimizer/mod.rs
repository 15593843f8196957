//! Optimisers over a set of tensors, each with a mask whose pruned entries never move, and their learning-rate schedules.

mod adafactor;
mod adamw;
mod momentum;
mod schedule;

use candle_core::{Device, Result, Tensor, Var};
use rayon::prelude::*;

use crate::autograd::Gradients;
use crate::autograd::storage::{read, write};
use crate::sparsity::Mask;

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
    variable: Var,
    mask: Option<Mask>,
    /// Factor of the learning rate.
    scale: f32,
    rule: Box<dyn Rule>,
}

/// What a step is made of.
struct Update<'a> {
    variable: &'a Var,
    gradient: &'a Tensor,
    mask: Option<&'a Mask>,
    /// Learning rate of this tensor.
    rate: f32,
    weight_decay: f32,
    /// Counted from 1.
    step: u32,
}

/// The state of one tensor, and how it moves.
trait Rule {
    fn update(&mut self, update: &Update) -> Result<()>;
}

/// A set of tensors and how they move.
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

    /// Adds a tensor. Where `mask` is false it stays as it is. Its learning rate is multiplied by `scale`.
    ///
    /// # Errors
    /// If the moments cannot be allocated.
    pub fn add(&mut self, variable: &Var, mask: Option<Mask>, scale: f32) -> Result<()> {
        let rule: Box<dyn Rule> = match self.kind {
            OptimizerKind::AdamW => Box::new(adamw::Moments::new(variable)?),
            OptimizerKind::Sgd => Box::new(momentum::Velocity::new(variable)),
            OptimizerKind::Adafactor => Box::new(adafactor::Factors::new(variable, mask.as_ref())),
        };
        self.trained.push(Trained { variable: variable.clone(), mask, scale, rule });
        Ok(())
    }

    /// Whether nothing trains.
    pub fn is_empty(&self) -> bool {
        self.trained.is_empty()
    }

    /// The tensors that train.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.trained.iter().map(|trained| trained.variable.as_tensor())
    }

    /// The tensors that train, to be set.
    pub fn variables(&self) -> impl Iterator<Item = &Var> {
        self.trained.iter().map(|trained| &trained.variable)
    }

    /// Moves every tensor one step against its gradient; a tensor without gradient stays.
    ///
    /// # Errors
    /// If a gradient's shape is not its tensor's.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f32) -> Result<()> {
        self.step += 1;
        for Trained { variable, mask, scale, rule } in &mut self.trained {
            let Some(gradient) = gradients.of(variable.as_tensor()) else { continue };
            let (rate, mask) = (learning_rate * *scale, mask.as_ref());
            rule.update(&Update { variable, gradient, mask, rate, weight_decay: self.weight_decay, step: self.step })?;
        }
        Ok(())
    }

    /// ℓ₂ norm of all gradients together, those of pruned weights left out.
    ///
    /// # Errors
    /// If memory is short.
    pub fn gradient_norm(&self, gradients: &Gradients) -> Result<f64> {
        let mut sum = 0.0;
        for Trained { variable, mask, .. } in &self.trained {
            let Some(gradient) = gradients.of(variable.as_tensor()) else { continue };
            let gradient = gradient.to_device(&Device::Cpu)?;
            sum += read([&gradient], |[gradient]| kept_squares(gradient, mask.as_ref().map(Mask::as_slice)).0)?;
        }
        Ok(sum.sqrt())
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

/// Lends weight and gradient to `f` as slices; from another device as copies that are sent back.
fn on_slices(update: &Update, f: impl FnOnce(&mut [f32], &[f32])) -> Result<()> {
    let tensor = update.variable.as_tensor();
    if tensor.device().is_cpu() {
        return read([update.gradient], |[gradient]| write(tensor, |weight| f(weight, gradient)))?;
    }
    let [weight, gradient] = [tensor, update.gradient].map(|tensor| tensor.to_device(&Device::Cpu));
    let weight = weight?.copy()?;
    read([&gradient?], |[gradient]| write(&weight, |weight| f(weight, gradient)))??;
    update.variable.set(&weight.to_device(tensor.device())?)
}
