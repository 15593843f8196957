//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, alg. 2) restricted to a mask: pruned weights and their moments do not move.

use candle_core::{DType, Result, Tensor, Var};
use lopper_kernels::{AdamWStep, adamw};

use crate::autograd::storage::{read, write};
use crate::sparsity::Mask;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// One tensor that trains, with its moments.
struct Trained {
    variable: Var,
    first: Tensor,
    second: Tensor,
    mask: Option<Mask>,
    /// Factor of the learning rate.
    scale: f32,
}

/// AdamW over a set of tensors, with β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
pub struct AdamW {
    trained: Vec<Trained>,
    weight_decay: f32,
    step: u32,
}

impl AdamW {
    /// An optimiser of nothing yet.
    pub fn new(weight_decay: f32) -> Self {
        Self { trained: Vec::new(), weight_decay, step: 0 }
    }

    /// Adds a tensor. Where `mask` is false it stays as it is. Its learning rate is multiplied by `scale`.
    ///
    /// # Errors
    /// If the moments cannot be allocated.
    pub fn add(&mut self, variable: &Var, mask: Option<Mask>, scale: f32) -> Result<()> {
        let (first, second) = (variable.zeros_like()?, variable.zeros_like()?);
        self.trained.push(Trained { variable: variable.clone(), first, second, mask, scale });
        Ok(())
    }

    /// The tensors that train.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.trained.iter().map(|trained| trained.variable.as_tensor())
    }

    /// Moves every tensor one step against its gradient; a tensor without gradient stays.
    ///
    /// # Errors
    /// If a gradient's shape is not its tensor's.
    pub fn step(&mut self, gradients: &crate::autograd::Gradients, learning_rate: f32) -> Result<()> {
        self.step += 1;
        for trained in &mut self.trained {
            let Some(gradient) = gradients.of(trained.variable.as_tensor()) else { continue };
            let step = AdamWStep {
                learning_rate: learning_rate * trained.scale,
                beta1: BETA1,
                beta2: BETA2,
                epsilon: EPSILON,
                weight_decay: self.weight_decay,
                step: self.step,
            };
            trained.update(gradient, &step)?;
        }
        Ok(())
    }
}

impl Trained {
    fn update(&mut self, gradient: &Tensor, step: &AdamWStep) -> Result<()> {
        if !gradient.device().is_cpu() {
            return self.update_composed(gradient, step);
        }
        let mask = self.mask.as_ref().map(Mask::as_slice);
        read([gradient], |[gradient]| {
            write(self.variable.as_tensor(), |weight| {
                write(&self.first, |first| {
                    write(&self.second, |second| adamw(step, weight, first, second, gradient, mask))
                })
            })
        })????;
        Ok(())
    }

    fn update_composed(&mut self, gradient: &Tensor, step: &AdamWStep) -> Result<()> {
        let &AdamWStep { learning_rate, beta1, beta2, epsilon, weight_decay, step } = step;
        let [rate, beta1, beta2, epsilon, decay] = [learning_rate, beta1, beta2, epsilon, weight_decay].map(f64::from);
        let weight = self.variable.as_tensor();
        let mask = self.mask.as_ref().map(|mask| mask.to_tensor(weight.device())).transpose()?;
        let gradient = match &mask {
            Some(mask) => (gradient * mask.to_dtype(DType::F32)?)?,
            None => gradient.clone(),
        };
        self.first = ((&self.first * beta1)? + (&gradient * (1.0 - beta1))?)?;
        self.second = ((&self.second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let first = (&self.first / (1.0 - beta1.powf(f64::from(step))))?;
        let second = (&self.second / (1.0 - beta2.powf(f64::from(step))))?;
        let moved = ((weight * (1.0 - rate * decay))? - (first / (second.sqrt()? + epsilon)?)? * rate)?;
        let moved = match &mask {
            Some(mask) => mask.where_cond(&moved, weight)?,
            None => moved,
        };
        self.variable.set(&moved)
    }
}
