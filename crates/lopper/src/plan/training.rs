//! The keys of what trains: `[reconstruction]` and `[retraining]`.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use lopper_kernels::Precision;
use serde::{Deserialize, Serialize};

use super::LARGEST_COUNT;
use crate::autograd::optimizer::{Decay, OptimizerKind};
use crate::reconstruction::{Loss, Parameters, Settings};

/// Key `[reconstruction]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconstructionPlan {
    /// What trains together; `none` for no training.
    pub granularity: Granularity,
    /// Which tensors of it train.
    pub parameters: Parameters,
    /// Whose activations it should give.
    pub targets: WindowTargets,
    /// How the distance to those is measured.
    pub loss: Loss,
    /// Rank of adapters.
    pub rank: usize,
    /// Adapters are multiplied by this over their rank.
    pub alpha: f32,
    /// How gradients become steps.
    pub optimizer: OptimizerKind,
    /// Passes over the calibration windows.
    pub epochs: usize,
    /// Peak step of a weight, as a share of the root mean square of its matrix, where a stage or less trains; `√n` times
    /// smaller in a window of `n` stages.
    pub learning_rate: f32,
    /// Share of the steps spent warming up.
    pub warm_up: f32,
    /// What becomes of the learning rate after that.
    pub decay: Decay,
    /// Windows per forward pass.
    pub batch: usize,
    /// Forward passes per step.
    pub accumulate: usize,
    /// Largest norm of the gradients of a step; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Epochs without improvement on held-out windows after which training ends; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// The optimiser's weight decay.
    pub weight_decay: f32,
}

/// Key `[retraining]`: the whole pruned model, after reconstruction. Optimiser, schedule and adapters are those of
/// `[reconstruction]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainingPlan {
    /// What its predictions are trained to be; `none` for no retraining.
    pub objective: RetrainingObjective,
    /// Which tensors train.
    pub parameters: Parameters,
    /// Logits are divided by this before they are compared as probabilities (`kl`).
    pub temperature: f32,
    /// Passes over the calibration windows.
    pub epochs: usize,
    /// As that of reconstruction, with all stages of all blocks as the window.
    pub learning_rate: f32,
    /// Windows per forward pass.
    pub batch: usize,
}

/// What the predictions of a model are trained to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetrainingObjective {
    /// Nothing.
    None,
    /// The next token of the text.
    Ce,
    /// The probabilities that the dense model gives.
    Kl,
    /// The logits that the dense model gives.
    Logits,
}

/// Whose activations a window should give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowTargets {
    /// The dense model's on its own.
    Dense,
    /// What the dense window makes of the inputs that the pruned one is shown.
    Local,
}

/// What trains together. In plans `none`, `matrix`, `submodule`, `block`, `blocks:3`, `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Granularity {
    /// Nothing.
    None,
    /// Each linear layer for itself.
    Matrix,
    /// The attention, then the feed-forward layer, each with norm and residual.
    Submodule,
    /// A whole block.
    Block,
    /// So many consecutive blocks.
    Blocks(usize),
    /// All blocks.
    Model,
}

impl Granularity {
    /// Blocks that are in memory together.
    pub fn span(self) -> usize {
        match self {
            Self::Blocks(count) => count,
            Self::Model => usize::MAX,
            Self::None | Self::Matrix | Self::Submodule | Self::Block => 1,
        }
    }
}

impl FromStr for Granularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "none" => Self::None,
            "matrix" => Self::Matrix,
            "submodule" => Self::Submodule,
            "block" => Self::Block,
            "model" => Self::Model,
            _ => {
                let count =
                    text.strip_prefix("blocks:").and_then(|count| count.parse().ok()).filter(|&count| count > 0);
                Self::Blocks(count.ok_or_else(|| {
                    format!("{text:?} is no granularity: known are none, matrix, submodule, block, blocks:N and model")
                })?)
            }
        })
    }
}

impl Display for Granularity {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blocks(count) => write!(f, "blocks:{count}"),
            Self::None => f.write_str("none"),
            Self::Matrix => f.write_str("matrix"),
            Self::Submodule => f.write_str("submodule"),
            Self::Block => f.write_str("block"),
            Self::Model => f.write_str("model"),
        }
    }
}

impl TryFrom<String> for Granularity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Granularity> for String {
    fn from(granularity: Granularity) -> Self {
        granularity.to_string()
    }
}

impl Default for ReconstructionPlan {
    fn default() -> Self {
        Self {
            granularity: Granularity::Submodule,
            parameters: Parameters::FULL,
            targets: WindowTargets::Dense,
            loss: Loss::Mse,
            rank: 16,
            alpha: 16.0,
            optimizer: OptimizerKind::AdamW,
            epochs: 2,
            learning_rate: 0.02,
            warm_up: 0.1,
            decay: Decay::Linear,
            batch: 2,
            accumulate: 1,
            clip: None,
            patience: None,
            weight_decay: 0.0,
        }
    }
}

impl Default for RetrainingPlan {
    fn default() -> Self {
        Self {
            objective: RetrainingObjective::None,
            parameters: Parameters::FULL,
            temperature: 1.0,
            epochs: 2,
            learning_rate: 0.01,
            batch: 2,
        }
    }
}

impl ReconstructionPlan {
    /// Of each number: whether it is in its range, and what to say if not.
    pub(super) fn ranges(&self) -> Vec<(bool, &'static str)> {
        vec![
            (self.batch > 0, "reconstruction.batch is 0"),
            (self.batch <= LARGEST_COUNT, "reconstruction.batch is beyond any text"),
            (self.accumulate <= LARGEST_COUNT, "reconstruction.accumulate is beyond any text"),
            (self.epochs <= LARGEST_COUNT, "reconstruction.epochs is beyond any patience"),
            (self.epochs > 0, "reconstruction.epochs is 0; for no training set reconstruction.granularity to \"none\""),
            (
                (0.0..1.0).contains(&self.learning_rate),
                "reconstruction.learning_rate is outside [0, 1): it is relative to the weights",
            ),
            ((0.0..=1.0).contains(&self.warm_up), "reconstruction.warm_up is outside [0, 1]"),
            (
                self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
                "reconstruction.weight_decay is negative or not finite",
            ),
            (self.accumulate > 0, "reconstruction.accumulate is 0"),
            (self.rank > 0, "reconstruction.rank is 0"),
            (self.alpha >= 0.0 && self.alpha.is_finite(), "reconstruction.alpha is negative or not finite"),
            (self.clip.is_none_or(|clip| clip > 0.0), "reconstruction.clip is not above 0"),
            (self.patience != Some(0), "reconstruction.patience is 0"),
        ]
    }

    /// How a window trains.
    pub fn settings(&self, precision: Precision, seed: u64) -> Settings {
        let &Self { parameters, rank, alpha, optimizer, decay, epochs, batch, accumulate, .. } = self;
        let &Self { learning_rate, warm_up, weight_decay, clip, patience, .. } = self;
        Settings {
            parameters,
            rank,
            alpha,
            optimizer,
            decay,
            epochs,
            batch,
            accumulate,
            learning_rate,
            warm_up,
            weight_decay,
            clip,
            patience,
            precision,
            seed,
        }
    }
}

impl RetrainingPlan {
    /// As those of [`ReconstructionPlan`].
    pub(super) fn ranges(&self) -> Vec<(bool, &'static str)> {
        vec![
            (self.batch > 0, "retraining.batch is 0"),
            (self.batch <= LARGEST_COUNT, "retraining.batch is beyond any text"),
            (self.epochs <= LARGEST_COUNT, "retraining.epochs is beyond any patience"),
            (self.epochs > 0, "retraining.epochs is 0; for no retraining set retraining.objective to \"none\""),
            (
                (0.0..1.0).contains(&self.learning_rate),
                "retraining.learning_rate is outside [0, 1): it is relative to the weights",
            ),
            (self.temperature > 0.0 && self.temperature.is_finite(), "retraining.temperature is not above 0"),
        ]
    }

    /// How the whole model trains, with what the two tables share.
    pub fn settings(&self, shared: &ReconstructionPlan, precision: Precision, seed: u64) -> Settings {
        let &Self { parameters, epochs, learning_rate, batch, .. } = self;
        Settings { parameters, epochs, batch, learning_rate, ..shared.settings(precision, seed) }
    }
}

#[cfg(test)]
mod tests {
    use super::Granularity;

    #[test]
    fn granularities_are_read_and_written() {
        for name in ["none", "matrix", "submodule", "block", "blocks:3", "model"] {
            assert_eq!(name.parse::<Granularity>().expect(name).to_string(), name);
        }
        for name in ["blocks:0", "blocks", "blocks:x", "half"] {
            assert!(name.parse::<Granularity>().expect_err(name).contains(name));
        }
    }
}
