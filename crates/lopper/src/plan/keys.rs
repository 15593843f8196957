//! The keys of a plan and their defaults.

use std::path::PathBuf;

use lopper_kernels::{Precision, bf16_is_native};
use serde::{Deserialize, Serialize};

use super::{ByteSize, ReconstructionPlan, RetrainingPlan, Rule, ShrinkPlan};
use crate::calibration::{HiddenDtype, Sampling};
use crate::method::{Order, SolverSettings};
use crate::sparsity::Extent;

/// A run: which model, what to prune, how to repair, what to measure. Every key has a default but `model`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Directory of a checkpoint, or a Hub id, or `demo`.
    pub model: String,
    /// Which text shows the model at work.
    pub calibration: CalibrationPlan,
    /// What disappears whole.
    pub shrink: ShrinkPlan,
    /// What is pruned and how the layer is repaired in closed form.
    pub pruning: PruningPlan,
    /// How windows are trained after that.
    pub reconstruction: ReconstructionPlan,
    /// How the whole model is trained after that.
    pub retraining: RetrainingPlan,
    /// What is measured on the files written.
    pub evaluation: EvaluationPlan,
    /// How it is computed.
    pub compute: ComputePlan,
}

/// Key `[calibration]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationPlan {
    /// UTF-8 text as it stands, or JSONL with a field `text`.
    pub files: Vec<PathBuf>,
    /// Files of the `WikiText` data set, whose rows are joined as the literature joins them; built-in text if both are empty.
    pub wikitext: Vec<PathBuf>,
    /// Windows that calibrate and train.
    pub samples: usize,
    /// More windows, on which training is judged.
    pub held_out: usize,
    /// Tokens per window; the smaller of 2048 and the model's limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seqlen: Option<usize>,
    /// Which windows of the text.
    pub sampling: Sampling,
    /// Whose hidden states the statistics and the training read.
    pub inputs: Inputs,
    /// Which tokens the statistics of an expert count.
    pub expert_tokens: ExpertTokens,
    /// Where fewer tokens than this reach an expert, others count too, weighted so that together they are as many.
    pub min_expert_tokens: usize,
    /// Of every random choice of the run.
    pub seed: u64,
}

/// Key `[pruning]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruningPlan {
    /// Share of weights pruned; not together with `pattern`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<f64>,
    /// N:M, as in `2:4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Name of a criterion; if absent `obs` where heads go, else `wanda`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// How far scores are compared; the criterion's own default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Extent>,
    /// How the sparsity is spread over layers.
    pub ratios: Ratios,
    /// M of OWL: a score so many times the mean of its block is an outlier.
    pub owl_threshold: f64,
    /// λ of OWL: a block's sparsity differs from the whole's by this at most.
    pub owl_lambda: f64,
    /// Name of a compensation.
    pub compensation: String,
    /// When a criterion that goes by the inverse Hessian chooses; its own way if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// γ on the diagonal of the Hessian, as a share of its mean. If absent, the joint compensation takes what serves the held-out
    /// sequences best, and everything else 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping: Option<f64>,
    /// At most so many conjugate-gradient iterations of the joint compensation.
    pub iterations: usize,
    /// Inputs that a method which walks over the columns takes at a time.
    pub column_block: usize,
    /// At most so many swaps of a kept against a pruned weight per row after the criterion has chosen; 0 for none.
    pub swaps: usize,
    /// How much is pruned before activations are computed anew.
    pub granularity: PruningGranularity,
    /// What is asked of some matrices instead; the first that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// How a sparsity is spread over the layers of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ratios {
    /// Every matrix loses the same share.
    Uniform,
    /// Blocks with more outliers among `|w|·‖x‖` lose less.
    Owl,
}

/// How much is pruned before activations are computed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruningGranularity {
    /// The attention, or the feed-forward layer.
    Submodule,
    /// A whole block, as the reference code of Wanda and SparseGPT.
    Block,
}

/// Whose hidden states layers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inputs {
    /// The dense model's.
    Dense,
    /// Those of the prefix as pruned and repaired so far.
    Pruned,
}

/// Key `[evaluation]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationPlan {
    /// Texts as they stand, or JSONL with a field `text`.
    pub texts: Vec<PathBuf>,
    /// Files in WikiText's form; rows are joined as in the data set.
    pub wikitext: Vec<PathBuf>,
    /// Tokens per window; the smaller of 2048 and the model's limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seqlen: Option<usize>,
    /// At most so many windows of each text; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<usize>,
    /// Tasks: built-in ones, or TOML files that describe them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Directory of the data sets that tasks ask from; the Hub if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_data: Option<PathBuf>,
    /// At most so many questions of each task, from the beginning; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Examples before each question.
    pub examples: usize,
    /// Also measure the model only pruned, and only pruned and compensated.
    pub ladder: bool,
}

/// Key `[compute]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComputePlan {
    /// How linear layers multiply.
    pub dtype: ComputeDtype,
    /// How hidden states are held.
    pub hidden_states: HiddenDtype,
    /// `cpu`, the only one so far.
    pub device: String,
    /// Worker threads; all cores if absent. The result does not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory that the run may take; what is free, but for a margin, if absent. The result does not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// How linear layers multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// bf16 where the processor multiplies it by instructions of its own, else f32.
    Auto,
    /// f32.
    F32,
    /// Operands rounded to bf16, sums in f32.
    Bf16,
}

/// Which tokens the statistics of an expert count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertTokens {
    /// Those that its router sends there.
    Routed,
    /// All of them.
    All,
}

impl Default for CalibrationPlan {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            wikitext: Vec::new(),
            samples: 128,
            held_out: 8,
            seqlen: None,
            sampling: Sampling::Random,
            inputs: Inputs::Pruned,
            expert_tokens: ExpertTokens::Routed,
            min_expert_tokens: 256,
            seed: 0,
        }
    }
}

impl Default for PruningPlan {
    fn default() -> Self {
        let SolverSettings { damping, iterations, column_block, swaps } = SolverSettings::default();
        Self {
            sparsity: None,
            pattern: None,
            criterion: None,
            scope: None,
            ratios: Ratios::Uniform,
            owl_threshold: 5.0,
            owl_lambda: 0.08,
            compensation: "joint".into(),
            order: None,
            damping,
            iterations,
            column_block,
            swaps,
            granularity: PruningGranularity::Submodule,
            rules: Vec::new(),
        }
    }
}

impl Default for ComputePlan {
    fn default() -> Self {
        let (dtype, hidden_states) = (ComputeDtype::Auto, HiddenDtype::F32);
        Self { dtype, hidden_states, device: "cpu".into(), threads: None, memory: None }
    }
}

impl ComputeDtype {
    /// What it stands for on this processor: [`Self::F32`] or [`Self::Bf16`].
    #[must_use]
    pub fn chosen(self) -> Self {
        match self {
            Self::Auto if bf16_is_native() => Self::Bf16,
            Self::Auto => Self::F32,
            said => said,
        }
    }

    /// As the kernels name what it stands for here.
    pub fn precision(self) -> Precision {
        if self.chosen() == Self::Bf16 { Precision::Bf16 } else { Precision::F32 }
    }

    /// As in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}
