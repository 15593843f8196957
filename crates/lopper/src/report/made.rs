//! What can be read back of a report: how a model was made, and how it scored.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ModelFacts, Report, ScoredModel, Shrunk};
use crate::error::{Error, Result};
use crate::plan::Plan;

/// How a model was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made {
    /// Version of this program.
    pub version: String,
    /// The run as data, defaults filled in.
    pub plan: Plan,
    /// Whether the calibration text had a say in the weights; where a report does not tell, it had.
    #[serde(default = "by_default")]
    pub calibrated: bool,
    /// What was pruned.
    pub model: ModelFacts,
    /// What taking neurons, heads, experts or blocks out came to, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
}

fn by_default() -> bool {
    true
}

/// A report without its facts of matrices and windows, timings and warnings.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How the model was made.
    pub made: Made,
    /// How its input was made, if that was by this program too; the first run first.
    pub earlier: Vec<Made>,
    /// Scores, from dense to final.
    pub evaluation: Vec<ScoredModel>,
}

/// The keys of a report beside those of [`Made`].
#[derive(Deserialize)]
struct Rest {
    #[serde(default)]
    earlier: Vec<Made>,
    evaluation: Vec<ScoredModel>,
}

impl Summary {
    /// Name of the report beside the weights of a model.
    pub const FILE: &'static str = "report.json";

    /// That of the report in the directory of a model; none where there is no file of this name.
    ///
    /// # Errors
    /// If it cannot be read, or is no report of a version that this one knows.
    pub fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(Self::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(&bytes).map(Some).map_err(|problem| Error::Text {
            problem: format!("{}: not a report that this version of lopper can read: {problem}", path.display()),
            hint: Some("reports of `lopper prune` can be read, those of a newer version perhaps only by that".into()),
        })
    }

    /// From JSON.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let made = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let Rest { earlier, evaluation } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Self { made, earlier, evaluation })
    }

    /// All runs, this one last.
    pub fn into_runs(self) -> Vec<Made> {
        self.earlier.into_iter().chain([self.made]).collect()
    }
}

impl From<&Report> for Summary {
    fn from(report: &Report) -> Self {
        let Report { version, plan, calibrated, model, shrunk, earlier, evaluation, .. } = report;
        let made = Made {
            version: version.clone(),
            plan: plan.clone(),
            calibrated: *calibrated,
            model: model.clone(),
            shrunk: shrunk.clone(),
        };
        Self { made, earlier: earlier.clone(), evaluation: evaluation.clone() }
    }
}
