//! What a run did: facts per matrix and window, scores, timings, versions. Written as `report.json` beside the model.

mod made;
mod shrunk;
mod timings;

use serde::{Deserialize, Serialize, Serializer};

use crate::evaluation::{Scores, TaskDifference, compare_tasks};
use crate::hub::HubModel;
use crate::method::SolutionFacts;
use crate::plan::Plan;
use crate::reconstruction::Outcome;
use crate::sparsity::Pattern;

pub use made::{Made, Summary};
pub use shrunk::Shrunk;
pub use timings::{Stage, Timings};

/// Everything worth knowing about a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: String,
    /// The run as data, defaults filled in.
    pub plan: Plan,
    /// Whether the calibration text had a say in the weights.
    pub calibrated: bool,
    /// What was pruned.
    pub model: ModelFacts,
    /// What taking neurons, heads, experts or blocks out came to, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
    /// Earlier runs whose outputs led to the input, the first one first, where the input has a report of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Made>,
    /// Scores, from dense to final.
    pub evaluation: Vec<ScoredModel>,
    /// Facts of each matrix that could be pruned, in the order of the model.
    pub matrices: Vec<MatrixFacts>,
    /// Facts of each trained window.
    pub windows: Vec<WindowFacts>,
    /// Seconds by stage.
    pub timings: Timings,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Largest resident set of the process, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The input of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The model as it was named.
    pub path: String,
    /// What it is on the Hub, where it came from its cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubModel>,
    /// Family.
    pub family: String,
    /// The first of the `architectures` of config.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Weights in the matrices that could be pruned, those left dense included.
    pub prunable: usize,
    /// How many of those are zero in the files written.
    pub zeros: usize,
    /// How many of those the plan asks to be zero.
    pub target: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// BLAKE3 of config and weights.
    pub fingerprint: String,
}

impl ModelFacts {
    /// Share of zeros in the matrices that could be pruned.
    pub fn sparsity(&self) -> f64 {
        self.zeros as f64 / self.prunable.max(1) as f64
    }

    /// Whether what was pruned is the text part of a model of images, as transformers calls such models.
    pub fn reads_images(&self) -> bool {
        self.architecture.as_deref().is_some_and(|name| name.ends_with("ForConditionalGeneration"))
    }

    /// The class of transformers that loads it. Not all models of images are in the table of `AutoModelForCausalLM` (5.24).
    pub fn loader(&self) -> &'static str {
        if self.reads_images() { "AutoModelForImageTextToText" } else { "AutoModelForCausalLM" }
    }
}

/// A model on the way from dense to final, and its scores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScoredModel {
    /// `dense`, `pruned`, `compensated`, `reconstructed`, `retrained`.
    pub name: String,
    /// Scores by text and task, in the order of the plan.
    #[serde(flatten)]
    pub scores: Scores,
    /// How its answers differ from those of the dense model, by task and metric; empty for that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against_dense: Vec<TaskDifference>,
}

impl ScoredModel {
    /// Compares its answers with those of the dense model, as far as those are known question by question.
    pub fn compare(&mut self, dense: &Self) {
        let pairs = self.scores.tasks.iter().zip(&dense.scores.tasks);
        let known = pairs.filter(|(score, dense)| score.records.len() == dense.records.len());
        self.against_dense = known.flat_map(|(score, dense)| compare_tasks(score, dense)).collect();
    }
}

/// What happened to a matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MatrixFacts {
    /// Name of the tensor.
    pub name: String,
    /// Block.
    pub block: usize,
    /// What it does in the block: `query`, `down`.
    pub role: String,
    /// [d_out, d_in]
    pub shape: [usize; 2],
    /// Pattern asked for; `None` if the matrix stays dense. In JSON as people write it: `2:4`, `60%`, `dense`; not read from there,
    /// where shares are rounded.
    #[serde(serialize_with = "as_text", skip_deserializing)]
    pub pattern: Option<Pattern>,
    /// Share of weights pruned.
    pub sparsity: f64,
    /// Of a matrix of an expert, how many tokens of the calibration text reached it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Errors, damping, iterations.
    #[serde(flatten)]
    pub solution: SolutionFacts,
    /// Of a matrix before blocks that go, what moving it by least squares leaves of what they gave: `‖XΔᵀ − R‖² / ‖R‖²` on inputs held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<f64>,
    /// `‖(W − Ŵ)Xᵀ‖² / ‖WXᵀ‖²` after reconstruction, on the inputs the matrix was pruned with.
    pub error_reconstructed: Option<f64>,
}

#[allow(clippy::ref_option, reason = "serde passes fields by reference")]
fn as_text<S: Serializer>(pattern: &Option<Pattern>, serializer: S) -> Result<S::Ok, S::Error> {
    match pattern {
        Some(pattern) => serializer.collect_str(pattern),
        None => serializer.serialize_str("dense"),
    }
}

/// What happened to a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowFacts {
    /// What trained: `block 0 attention`, `block 0`, `blocks 0 to 3`, the name of a matrix, `model`.
    pub window: String,
    /// Its first block.
    pub block: usize,
    /// Losses and learning rate.
    #[serde(flatten)]
    pub outcome: Outcome,
}
