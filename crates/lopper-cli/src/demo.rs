//! The model inside this program, unpacked into a temporary directory.

use std::path::PathBuf;

use lopper::plan::Plan;
use lopper::{Error, Result};
use tempfile::TempDir;

use crate::interrupt::Interrupt;

/// What the demo is called, and its held-out text where a text is asked for.
pub const DEMO: &str = "demo";
/// Share of weights pruned: enough to hurt a model of this size visibly.
const SPARSITY: f64 = 0.6;
/// Tokens per window.
const SEQLEN: usize = 256;

/// The unpacked demo; dropping it removes it.
pub struct Demo(TempDir);

impl Demo {
    /// Writes the model.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn unpack(interrupt: &Interrupt) -> Result<Self> {
        let directory = TempDir::with_prefix("lopper-demo-").map_err(Error::io("create", std::env::temp_dir()))?;
        interrupt.remove_directory(directory.path());
        let demo = Self(directory);
        lopper_demo::write_model(&demo.model()).map_err(Error::io("write", demo.model()))?;
        Ok(demo)
    }

    /// Directory of the checkpoint.
    pub fn model(&self) -> PathBuf {
        self.0.path().join(DEMO)
    }

    /// A plan that is quick and shows every step of the ladder, on built-in text.
    pub fn plan() -> Plan {
        let mut plan = Plan { model: DEMO.into(), ..Plan::default() };
        plan.pruning.sparsity = Some(SPARSITY);
        (plan.calibration.seqlen, plan.evaluation.seqlen) = (Some(SEQLEN), Some(SEQLEN));
        plan.evaluation.texts = vec![DEMO.into()];
        plan.evaluation.ladder = true;
        plan
    }
}
