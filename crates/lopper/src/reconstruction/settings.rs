//! How a window trains.

use lopper_kernels::Precision;
use serde::{Deserialize, Serialize};

use super::Parameters;
use crate::autograd::optimizer::{Decay, OptimizerKind};

/// How far activations are from those of the dense model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Squared error.
    Mse,
    /// Squared error of each token over the mean square of its target.
    MseNormalized,
    /// One minus the cosine, token by token.
    Cosine,
}

/// How a window trains.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What trains.
    pub parameters: Parameters,
    /// Rank of adapters.
    pub rank: usize,
    /// Adapters are multiplied by this over their rank.
    pub alpha: f32,
    /// How gradients become steps.
    pub optimizer: OptimizerKind,
    /// What becomes of the rate after the warm-up.
    pub decay: Decay,
    /// Passes over the training sequences.
    pub epochs: usize,
    /// Sequences per forward pass.
    pub batch: usize,
    /// Forward passes per step.
    pub accumulate: usize,
    /// Peak step of a weight, as a share of the root mean square of its tensor, where a stage or less trains; `√n` times
    /// smaller in a window of `n` stages.
    pub learning_rate: f32,
    /// Share of the steps spent warming up.
    pub warm_up: f32,
    /// Weight decay of the optimiser.
    pub weight_decay: f32,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    pub clip: Option<f32>,
    /// Epochs without a better held-out error after which training ends.
    pub patience: Option<usize>,
    /// How linear layers multiply.
    pub precision: Precision,
    /// Of the order of batches, and of what adapters start from.
    pub seed: u64,
}
