//! The whole run as data. A [`Plan`] that [`Plan::validate`] accepted contradicts neither itself nor the model.

use std::path::{Path, PathBuf};

use lopper_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::calibration::{HiddenDtype, Sampling};
use crate::error::{Error, Result};
use crate::method::SelectThenRepair;
use crate::method::compensation::Compensation;
use crate::method::criterion::Criterion;
use crate::model::{DecoderSpec, LinearRole};
use crate::sparsity::{Pattern, Scope};

/// A run: which model, what to prune, how to repair, what to measure. Every key has a default but `model`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Directory of a checkpoint, or a Hub id, or `demo`.
    pub model: String,
    /// Which text shows the model at work.
    pub calibration: CalibrationPlan,
    /// What is pruned and how the layer is repaired in closed form.
    pub pruning: PruningPlan,
    /// How windows are trained after that.
    pub reconstruction: ReconstructionPlan,
    /// What is measured on the files written.
    pub evaluation: EvaluationPlan,
    /// How it is computed.
    pub compute: ComputePlan,
}

/// Key `[calibration]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalibrationPlan {
    /// UTF-8 text, or JSONL with a field `text`; built-in text if empty.
    pub files: Vec<PathBuf>,
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
    /// Name of a criterion.
    pub criterion: String,
    /// Where scores are compared; the criterion's own default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Name of a compensation.
    pub compensation: String,
    /// How much is pruned before activations are computed anew.
    pub granularity: PruningGranularity,
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

/// Key `[reconstruction]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconstructionPlan {
    /// What trains together; `none` for no training.
    pub granularity: Granularity,
    /// Passes over the calibration windows.
    pub epochs: usize,
    /// Peak step of a weight, as a share of the root mean square of its matrix.
    pub learning_rate: f32,
    /// Share of the steps spent warming up.
    pub warm_up: f32,
    /// Windows per step.
    pub batch: usize,
    /// Whether norm weights train too.
    pub train_norms: bool,
    /// AdamW's weight decay.
    pub weight_decay: f32,
}

/// What trains together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// Nothing.
    None,
    /// The attention, then the feed-forward layer, each with norm and residual.
    Submodule,
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
    /// `cpu`, `cuda`, `cuda:1`, `metal`.
    pub device: String,
    /// Worker threads; all cores if absent. The result does not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

/// How linear layers multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// f32.
    F32,
    /// Operands rounded to bf16, sums in f32.
    Bf16,
}

impl Default for CalibrationPlan {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            samples: 128,
            held_out: 8,
            seqlen: None,
            sampling: Sampling::Random,
            inputs: Inputs::Pruned,
            seed: 0,
        }
    }
}

impl Default for PruningPlan {
    fn default() -> Self {
        Self {
            sparsity: None,
            pattern: None,
            criterion: "wanda".into(),
            scope: None,
            compensation: "joint".into(),
            granularity: PruningGranularity::Submodule,
        }
    }
}

impl Default for ReconstructionPlan {
    fn default() -> Self {
        Self {
            granularity: Granularity::Submodule,
            epochs: 2,
            learning_rate: 0.01,
            warm_up: 0.1,
            batch: 2,
            train_norms: true,
            weight_decay: 0.0,
        }
    }
}

impl Default for ComputePlan {
    fn default() -> Self {
        Self { dtype: ComputeDtype::F32, hidden_states: HiddenDtype::F32, device: "cpu".into(), threads: None }
    }
}

impl ComputeDtype {
    /// As the kernels name it.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

/// The sparsity of a run that asks for nothing else.
const DEFAULT_SPARSITY: f64 = 0.5;
/// The longest window taken when none is asked for.
const DEFAULT_SEQLEN: usize = 2048;

impl Plan {
    /// Reads a plan from TOML.
    ///
    /// # Errors
    /// If the file cannot be read, or has an unknown key or a value of the wrong kind.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|error| Error::Plan {
            problem: format!("{}: {}", path.display(), error.to_string().trim_end()),
            hint: Some("`lopper explain MODEL --print-plan` writes a plan with every key".into()),
        })
    }

    /// As TOML.
    ///
    /// # Errors
    /// None in practice: every plan has a TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Plan { problem: format!("the plan cannot be written: {error}"), hint: None })
    }

    /// The pattern asked for.
    ///
    /// # Errors
    /// If both a sparsity and a pattern are given, or one makes no sense.
    pub fn pattern(&self) -> Result<Pattern> {
        let PruningPlan { sparsity, pattern, scope, .. } = &self.pruning;
        let default = Criterion::by_name(&self.pruning.criterion)?.scope;
        match (sparsity, pattern) {
            (Some(_), Some(_)) => {
                Err(conflict("a sparsity and an N:M pattern exclude each other", "leave one of them out"))
            }
            (None, Some(_)) if scope.is_some() => {
                Err(conflict("an N:M pattern has no scope: scores compete within a group", "leave out the scope"))
            }
            (None, Some(pattern)) => pattern.parse(),
            (sparsity, None) => Pattern::unstructured(sparsity.unwrap_or(DEFAULT_SPARSITY), scope.unwrap_or(default)),
        }
    }

    /// The method asked for.
    ///
    /// # Errors
    /// If a name is unknown.
    pub fn method(&self) -> Result<SelectThenRepair> {
        let PruningPlan { criterion, compensation, .. } = &self.pruning;
        Ok(SelectThenRepair {
            criterion: Criterion::by_name(criterion)?,
            compensation: Compensation::by_name(compensation)?,
        })
    }

    /// Tokens per calibration window.
    pub fn calibration_seqlen(&self, spec: &DecoderSpec) -> usize {
        self.calibration.seqlen.unwrap_or(DEFAULT_SEQLEN.min(spec.max_positions))
    }

    /// Tokens per evaluation window.
    pub fn evaluation_seqlen(&self, spec: &DecoderSpec) -> usize {
        self.evaluation.seqlen.unwrap_or(DEFAULT_SEQLEN.min(spec.max_positions))
    }

    /// Everything that can be known to be wrong before the first forward pass.
    ///
    /// # Errors
    /// Naming the key and the value.
    pub fn validate(&self, spec: &DecoderSpec) -> Result<()> {
        let pattern = self.pattern()?;
        self.method()?;
        for role in LinearRole::ALL {
            let (d_out, d_in) = spec.shape(role);
            if !pattern.fits(d_in) {
                let problem = format!(
                    "pattern {pattern} does not divide the {d_in} inputs of the {role:?} layers [{d_out}, {d_in}]"
                );
                return Err(conflict(&problem, "choose an M that divides every width, or an unstructured sparsity"));
            }
        }
        let ReconstructionPlan { learning_rate, warm_up, .. } = self.reconstruction;
        let calibration = self.calibration_seqlen(spec);
        let checks = [
            (self.calibration.samples > 0, "calibration.samples is 0"),
            (calibration >= 2, "calibration.seqlen is below 2"),
            (calibration <= spec.max_positions, "calibration.seqlen exceeds the model's max_position_embeddings"),
            (self.evaluation_seqlen(spec) >= 2, "evaluation.seqlen is below 2"),
            (self.evaluation.windows != Some(0), "evaluation.windows is 0"),
            (self.reconstruction.batch > 0, "reconstruction.batch is 0"),
            (
                self.reconstruction.epochs > 0,
                "reconstruction.epochs is 0; for no training set reconstruction.granularity to \"none\"",
            ),
            (
                learning_rate >= 0.0 && learning_rate < 1.0,
                "reconstruction.learning_rate is outside [0, 1): it is relative to the weights",
            ),
            ((0.0..=1.0).contains(&warm_up), "reconstruction.warm_up is outside [0, 1]"),
            (self.compute.threads != Some(0), "compute.threads is 0"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(Error::Plan { problem: (*problem).into(), hint: None }),
            None => Ok(()),
        }
    }
}

fn conflict(problem: &str, hint: &str) -> Error {
    Error::Plan { problem: problem.into(), hint: Some(hint.into()) }
}
