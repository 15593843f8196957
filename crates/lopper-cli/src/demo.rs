//! The model inside this program, unpacked into a temporary directory with text of its own kind.

use std::path::{Path, PathBuf};

use lopper::plan::Plan;
use lopper::{Error, Result};
use tempfile::TempDir;

use crate::interrupt::Interrupt;

/// What the demo is called, and its held-out text where a text is asked for.
pub const DEMO: &str = "demo";
/// Documents, of about a hundred words each, to calibrate on and to score.
const DOCUMENTS: [usize; 2] = [1200, 300];
/// Share of weights pruned: enough to hurt a model of this size visibly.
const SPARSITY: f64 = 0.6;
/// Tokens per window.
const SEQLEN: usize = 256;

/// The unpacked demo; dropping it removes it.
pub struct Demo(TempDir);

impl Demo {
    /// Writes model and texts.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn unpack(interrupt: &Interrupt) -> Result<Self> {
        let directory = TempDir::with_prefix("lopper-demo-").map_err(Error::io("create", std::env::temp_dir()))?;
        interrupt.remove_directory(directory.path());
        let demo = Self(directory);
        lopper_demo::write_model(&demo.model()).map_err(Error::io("write", demo.model()))?;
        let [calibration, held_out] = DOCUMENTS;
        let calibration = (demo.calibration(), lopper_demo::calibration_text(calibration));
        for (file, text) in [calibration, (demo.held_out(), lopper_demo::held_out_text(held_out))] {
            std::fs::write(&file, text).map_err(Error::io("write", file))?;
        }
        Ok(demo)
    }

    /// Directory of the checkpoint.
    pub fn model(&self) -> PathBuf {
        self.0.path().join(DEMO)
    }

    fn calibration(&self) -> PathBuf {
        self.0.path().join("demo-calibration.txt")
    }

    /// Text that neither training nor calibration has seen.
    pub fn held_out(&self) -> PathBuf {
        self.0.path().join("demo-held-out.txt")
    }

    /// A plan that is quick and shows every step of the ladder.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { model: DEMO.into(), ..Plan::default() };
        plan.pruning.sparsity = Some(SPARSITY);
        (plan.calibration.seqlen, plan.evaluation.seqlen) = (Some(SEQLEN), Some(SEQLEN));
        plan.evaluation.ladder = true;
        plan
    }

    /// Gives the plan of the demo its texts, where it has none of the user's.
    pub fn fill_texts(&self, plan: &mut Plan) {
        if plan.calibration.files.is_empty() {
            plan.calibration.files.push(self.calibration());
        }
        if plan.evaluation.texts.is_empty() && plan.evaluation.wikitext.is_empty() {
            plan.evaluation.texts.push(self.held_out());
        }
    }
}

/// Whether a text file is the demo's held-out text.
pub fn is_demo(file: &Path) -> bool {
    file == Path::new(DEMO)
}
