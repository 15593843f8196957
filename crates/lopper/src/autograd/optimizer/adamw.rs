//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, alg. 2) restricted to a mask: pruned weights and their moments do not move.

use lopper_kernels::{AdamWStep, adamw};

use super::{Rule, Update};
use crate::tensor::Tensor;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Moments of a tensor, with β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
pub(super) struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    pub(super) fn new(tensor: &Tensor) -> Self {
        let zeros = || lopper_kernels::zeros(tensor.len());
        Self { first: zeros(), second: zeros() }
    }
}

impl Rule for Moments {
    fn update(&mut self, Update { weight, gradient, mask, rate: learning_rate, weight_decay, step }: Update) {
        let step = AdamWStep { learning_rate, beta1: BETA1, beta2: BETA2, epsilon: EPSILON, weight_decay, step };
        adamw(&step, weight, &mut self.first, &mut self.second, gradient, mask);
    }
}
