//! The demo model, its texts, and quick plans for it.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lopper::checkpoint::Checkpoint;
use lopper::error::Result;
use lopper::model::Decoder;
use lopper::plan::{ComputeDtype, Plan};
use lopper::progress::{Event, Silent};
use lopper::prune::prune;
use lopper::report::Report;
use tempfile::TempDir;

/// The demo model and its texts in a directory of their own.
pub struct Demo {
    directory: TempDir,
}

impl Demo {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        lopper_demo::write_model(&directory.path().join("model")).expect("written");
        fs::write(directory.path().join("calibration.txt"), lopper_demo::calibration_text(100)).expect("written");
        fs::write(directory.path().join("held_out.txt"), lopper_demo::held_out_text(60)).expect("written");
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The model, or what a run has made.
    pub fn open(&self, name: &str) -> Result<Decoder> {
        Decoder::open(Checkpoint::open(&self.path(name))?)
    }

    /// A quick run: 32 windows of 128 tokens.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { model: "demo".into(), ..Plan::default() };
        // the same on every processor
        plan.compute.dtype = ComputeDtype::F32;
        plan.calibration.files = vec![self.path("calibration.txt")];
        plan.calibration.samples = 32;
        plan.calibration.seqlen = Some(128);
        plan.evaluation.texts = vec![self.path("held_out.txt")];
        plan.evaluation.seqlen = Some(256);
        plan
    }

    /// A run of a fraction of a second, on four blocks.
    pub fn short(&self) -> Plan {
        let mut plan = self.plan();
        (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (6, 2, Some(32));
        (plan.evaluation.seqlen, plan.evaluation.windows) = (Some(64), Some(2));
        plan.reconstruction.epochs = 1;
        plan
    }

    /// Runs until so many windows are finished, and leaves what they have made.
    pub fn stop_after(&self, windows: usize, plan: &Plan, out: &str) {
        let (mut pruning, mut done) = (false, 0);
        let mut stop = |event: Event| match event {
            Event::Stage { name } => pruning = name.starts_with("pruning"),
            Event::Progress(_) if pruning => {
                done += 1;
                assert!(done < windows, "interrupted");
            }
            _ => (),
        };
        let model = self.open("model").expect("a decoder");
        let run = AssertUnwindSafe(|| prune(plan, &model, &self.path(out), &mut stop));
        assert!(catch_unwind(run).is_err(), "it ended by itself");
    }

    pub fn prune(&self, plan: &Plan, out: &str) -> Result<Report> {
        prune(plan, &self.open("model")?, &self.path(out), &mut Silent)
    }
}

/// Name and bytes of each file.
pub fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let listing = fs::read_dir(directory).expect("directory").flatten();
    listing
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("file")))
        .collect()
}

/// The bytes of the weight file.
pub fn weights(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("model.safetensors")).expect("weights")
}
