//! The flags of what trains: windows against the dense model, then the whole model.

use clap::Args;
use lopper::autograd::optimizer::{Decay, OptimizerKind};
use lopper::plan::{Granularity, ReconstructionPlan, RetrainingObjective, RetrainingPlan, WindowTargets};
use lopper::reconstruction::{Loss, Parameters};

use super::choice::one_of;
use super::plan::{set, set_some};

const RECONSTRUCTION: &str = "Reconstruction";
const RETRAINING: &str = "Retraining";

/// How windows train.
#[derive(Args, Debug, Default)]
pub struct ReconstructionOptions {
    /// What to train together against the dense model: matrix, submodule, block, blocks:N or model; `none` skips training [default: submodule]
    #[arg(long, value_name = "SIZE", help_heading = RECONSTRUCTION)]
    pub reconstruct: Option<Granularity>,
    /// What of it trains: weights, bias, norm, full (all three), router, conv, state, sink, lora, masklora, scalelora, spp, joined by + [default: full]
    #[arg(long, value_name = "WHAT", help_heading = RECONSTRUCTION)]
    pub parameters: Option<Parameters>,
    /// Match the dense model's activations, or what the dense window makes of the inputs at hand (local) [default: dense]
    #[arg(long, value_name = "WHOSE", value_parser = one_of::<WindowTargets>(&["dense", "local"]), help_heading = RECONSTRUCTION)]
    pub targets: Option<WindowTargets>,
    /// How to measure the distance of activations [default: mse]
    #[arg(long, value_name = "LOSS", value_parser = one_of::<Loss>(&["mse", "mse-normalized", "cosine"]), help_heading = RECONSTRUCTION)]
    pub loss: Option<Loss>,
    /// Rank of adapters [default: 16]
    #[arg(long, value_name = "N", help_heading = RECONSTRUCTION)]
    pub rank: Option<usize>,
    /// Multiply adapters by this over their rank [default: 16.0]
    #[arg(long, value_name = "FACTOR", help_heading = RECONSTRUCTION)]
    pub alpha: Option<f32>,
    /// How gradients become steps; sgd and adafactor take less memory [default: adamw]
    #[arg(long, value_name = "NAME", value_parser = one_of::<OptimizerKind>(&["adamw", "sgd", "adafactor"]), help_heading = RECONSTRUCTION)]
    pub optimizer: Option<OptimizerKind>,
    /// Passes over the calibration windows [default: 2]
    #[arg(long, value_name = "N", help_heading = RECONSTRUCTION)]
    pub epochs: Option<usize>,
    /// Largest step of a weight, as a share of its matrix's root mean square, for a stage of a block; less for larger windows [default: 0.02]
    #[arg(long, value_name = "RATE", help_heading = RECONSTRUCTION)]
    pub learning_rate: Option<f32>,
    /// Share of the training steps spent warming up [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = RECONSTRUCTION)]
    pub warm_up: Option<f32>,
    /// What becomes of the learning rate after the warm-up [default: linear]
    #[arg(long, value_name = "HOW", value_parser = one_of::<Decay>(&["linear", "cosine", "constant"]), help_heading = RECONSTRUCTION)]
    pub decay: Option<Decay>,
    /// Calibration windows per forward pass [default: 2]
    #[arg(long, value_name = "N", help_heading = RECONSTRUCTION)]
    pub batch: Option<usize>,
    /// Forward passes per training step [default: 1]
    #[arg(long, value_name = "N", help_heading = RECONSTRUCTION)]
    pub accumulate: Option<usize>,
    /// Scale the gradients of a step down to this norm [default: none]
    #[arg(long, value_name = "NORM", help_heading = RECONSTRUCTION)]
    pub clip: Option<f32>,
    /// Stop after N epochs without improvement on held-out windows [default: none]
    #[arg(long, value_name = "N", help_heading = RECONSTRUCTION)]
    pub patience: Option<usize>,
    /// Weight decay of the optimiser [default: 0.0]
    #[arg(long, value_name = "DECAY", help_heading = RECONSTRUCTION)]
    pub weight_decay: Option<f32>,
}

/// How the whole model trains.
#[derive(Args, Debug, Default)]
pub struct RetrainingOptions {
    /// Then train the whole pruned model: to predict the next token (ce), or the dense model's probabilities (kl) or logits [default: none]
    #[arg(long, value_name = "GOAL", value_parser = one_of::<RetrainingObjective>(&["none", "ce", "kl", "logits"]), help_heading = RETRAINING)]
    pub retrain: Option<RetrainingObjective>,
    /// What of it trains, as --parameters [default: full]
    #[arg(long, value_name = "WHAT", help_heading = RETRAINING)]
    pub retrain_parameters: Option<Parameters>,
    /// Divide logits by this before they are compared as probabilities [default: 1.0]
    #[arg(long, value_name = "T", help_heading = RETRAINING)]
    pub temperature: Option<f32>,
    /// Passes over the calibration windows [default: 2]
    #[arg(long, value_name = "N", help_heading = RETRAINING)]
    pub retrain_epochs: Option<usize>,
    /// As --learning-rate, with the whole model as the window [default: 0.01]
    #[arg(long, value_name = "RATE", help_heading = RETRAINING)]
    pub retrain_learning_rate: Option<f32>,
    /// Calibration windows per forward pass [default: 2]
    #[arg(long, value_name = "N", help_heading = RETRAINING)]
    pub retrain_batch: Option<usize>,
}

impl ReconstructionOptions {
    /// Overrides the keys whose flags were given.
    pub fn apply(&self, plan: &mut ReconstructionPlan) {
        set(&mut plan.granularity, self.reconstruct.as_ref());
        set(&mut plan.parameters, self.parameters.as_ref());
        set(&mut plan.targets, self.targets.as_ref());
        set(&mut plan.loss, self.loss.as_ref());
        set(&mut plan.rank, self.rank.as_ref());
        set(&mut plan.alpha, self.alpha.as_ref());
        set(&mut plan.optimizer, self.optimizer.as_ref());
        set(&mut plan.epochs, self.epochs.as_ref());
        set(&mut plan.learning_rate, self.learning_rate.as_ref());
        set(&mut plan.warm_up, self.warm_up.as_ref());
        set(&mut plan.decay, self.decay.as_ref());
        set(&mut plan.batch, self.batch.as_ref());
        set(&mut plan.accumulate, self.accumulate.as_ref());
        set_some(&mut plan.clip, self.clip.as_ref());
        set_some(&mut plan.patience, self.patience.as_ref());
        set(&mut plan.weight_decay, self.weight_decay.as_ref());
    }
}

impl RetrainingOptions {
    /// Overrides the keys whose flags were given.
    pub fn apply(&self, plan: &mut RetrainingPlan) {
        set(&mut plan.objective, self.retrain.as_ref());
        set(&mut plan.parameters, self.retrain_parameters.as_ref());
        set(&mut plan.temperature, self.temperature.as_ref());
        set(&mut plan.epochs, self.retrain_epochs.as_ref());
        set(&mut plan.learning_rate, self.retrain_learning_rate.as_ref());
        set(&mut plan.batch, self.retrain_batch.as_ref());
    }
}
