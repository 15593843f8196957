//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, alg. 2) restricted to a mask: pruned weights and their moments do not move.

use candle_core::{DType, Result, Tensor, Var};
use lopper_kernels::{AdamWStep, adamw};

use super::{Rule, Update};
use crate::autograd::storage::{read, write};
use crate::sparsity::Mask;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Moments of a tensor, with β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
pub(super) struct Moments {
    first: Tensor,
    second: Tensor,
}

impl Moments {
    pub(super) fn new(variable: &Var) -> Result<Self> {
        Ok(Self { first: variable.zeros_like()?, second: variable.zeros_like()? })
    }

    fn update_composed(&mut self, update: &Update, step: &AdamWStep) -> Result<()> {
        let &AdamWStep { learning_rate, beta1, beta2, epsilon, weight_decay, step } = step;
        let [rate, beta1, beta2, epsilon, decay] = [learning_rate, beta1, beta2, epsilon, weight_decay].map(f64::from);
        let weight = update.variable.as_tensor();
        let mask = update.mask.map(|mask| mask.to_tensor(weight.device())).transpose()?;
        let gradient = match &mask {
            Some(mask) => (update.gradient * mask.to_dtype(DType::F32)?)?,
            None => update.gradient.clone(),
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
        update.variable.set(&moved)
    }
}

impl Rule for Moments {
    fn update(&mut self, update: &Update) -> Result<()> {
        let &Update { variable, gradient, rate: learning_rate, weight_decay, step, .. } = update;
        let step = AdamWStep { learning_rate, beta1: BETA1, beta2: BETA2, epsilon: EPSILON, weight_decay, step };
        if !gradient.device().is_cpu() {
            return self.update_composed(update, &step);
        }
        let mask = update.mask.map(Mask::as_slice);
        read([gradient], |[gradient]| {
            write(variable.as_tensor(), |weight| {
                write(&self.first, |first| {
                    write(&self.second, |second| adamw(&step, weight, first, second, gradient, mask))
                })
            })
        })????;
        Ok(())
    }
}
