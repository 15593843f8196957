//! `AdamW`, with pruned weights held still.
//!
//! m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², w ← w − η·λ·w − η·m̂/(√v̂ + ε) with m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).
//! I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019, arXiv:1711.05101, algorithm 2, with the decay scaled by
//! the learning rate as `PyTorch` does.

use crate::dispatch::{simd, tier};
use crate::elementwise::CHUNK;
use rayon::prelude::*;

/// Hyperparameters of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// η.
    pub learning_rate: f32,
    /// β₁, decay of the first moment.
    pub beta1: f32,
    /// β₂, decay of the second moment.
    pub beta2: f32,
    /// ε, added to the root of the second moment.
    pub epsilon: f32,
    /// λ, decoupled decay.
    pub weight_decay: f32,
    /// t, counted from 1.
    pub step: u32,
}

/// The step's constants, with the bias corrections folded in.
#[derive(Clone, Copy)]
struct Constants {
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    inverse_root_correction: f32,
    epsilon: f32,
}

impl Constants {
    fn new(step: &AdamWStep) -> Self {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step.step));
        Self {
            beta1: step.beta1,
            beta2: step.beta2,
            keep: 1.0 - step.learning_rate * step.weight_decay,
            rate: (f64::from(step.learning_rate) / correction(step.beta1)) as f32,
            inverse_root_correction: correction(step.beta2).sqrt().recip() as f32,
            epsilon: step.epsilon,
        }
    }

    /// New (weight, first, second) of one entry.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it has to be compiled inside the caller's target features")]
    fn apply(self, weight: f32, first: f32, second: f32, grad: f32) -> (f32, f32, f32) {
        let first = self.beta1 * first + (1.0 - self.beta1) * grad;
        let second = self.beta2 * second + (1.0 - self.beta2) * grad * grad;
        let root = second.sqrt() * self.inverse_root_correction + self.epsilon;
        (weight * self.keep - self.rate * first / root, first, second)
    }
}

simd! {
    fn update(constants: Constants, weight: &mut [f32], first: &mut [f32], second: &mut [f32], grad: &[f32]) {
        for (((weight, first), second), grad) in weight.iter_mut().zip(first).zip(second).zip(grad) {
            (*weight, *first, *second) = constants.apply(*weight, *first, *second, *grad);
        }
    }
    fn update_kept(constants: Constants, weight: &mut [f32], first: &mut [f32], second: &mut [f32], grad: &[f32], mask: &[u8]) {
        for ((((weight, first), second), grad), kept) in weight.iter_mut().zip(first).zip(second).zip(grad).zip(mask) {
            let new = constants.apply(*weight, *first, *second, *grad);
            // chosen by bits: an `if` becomes masked loads and stores, which take twice as long
            let kept = 0u32.wrapping_sub(u32::from(*kept != 0));
            let choose = |new: f32, old: f32| f32::from_bits(old.to_bits() ^ (new.to_bits() ^ old.to_bits()) & kept);
            *weight = choose(new.0, *weight);
            *first = choose(new.1, *first);
            *second = choose(new.2, *second);
        }
    }
}

/// One `AdamW` step on `weight` with its moments `first` and `second`.
///
/// `mask` has 1 where a weight is kept; where it is 0 the weight and its moments stay exactly as they are, whatever the gradient.
///
/// # Panics
///
/// If the lengths differ or the step is 0.
pub fn adamw(
    step: &AdamWStep,
    weight: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    grad: &[f32],
    mask: Option<&[u8]>,
) {
    let n = weight.len();
    assert!(first.len() == n && second.len() == n && grad.len() == n, "adamw: the slices differ in length");
    assert!(step.step > 0, "adamw: steps are counted from 1");
    let (tier, constants) = (tier(), Constants::new(step));
    let state = weight.par_chunks_mut(CHUNK).zip(first.par_chunks_mut(CHUNK)).zip(second.par_chunks_mut(CHUNK));
    let tasks = state.zip(grad.par_chunks(CHUNK));
    if let Some(mask) = mask {
        assert_eq!(mask.len(), n, "adamw: weight and mask differ in length");
        tasks.zip(mask.par_chunks(CHUNK)).for_each(|((((weight, first), second), grad), mask)| {
            update_kept(tier, constants, weight, first, second, grad, mask);
        });
    } else {
        tasks.for_each(|(((weight, first), second), grad)| update(tier, constants, weight, first, second, grad));
    }
}
