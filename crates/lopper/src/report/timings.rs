//! Seconds by stage.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading, checking, tokenising.
    Open,
    /// Forward passes for statistics.
    Calibrate,
    /// Criteria and compensation.
    Solve,
    /// Training of windows.
    Reconstruct,
    /// Training of the whole model.
    Retrain,
    /// Forward passes that move hidden states on.
    Advance,
    /// Writing and checking files.
    Write,
    /// Scoring of texts and tasks.
    Evaluate,
}

/// In their order.
const STAGES: [Stage; 8] = [
    Stage::Open,
    Stage::Calibrate,
    Stage::Solve,
    Stage::Reconstruct,
    Stage::Retrain,
    Stage::Advance,
    Stage::Write,
    Stage::Evaluate,
];

/// Seconds by stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timings {
    open: f64,
    calibrate: f64,
    solve: f64,
    reconstruct: f64,
    retrain: f64,
    advance: f64,
    write: f64,
    evaluate: f64,
}

impl Timings {
    /// Runs `f` on the account of `stage`.
    pub fn measure<R>(&mut self, stage: Stage, f: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let result = f();
        self.note(stage, started);
        result
    }

    /// Puts the time since then on the account of `stage`.
    pub fn note(&mut self, stage: Stage, since: Instant) {
        *self.account(stage) += since.elapsed().as_secs_f64();
    }

    /// Adds the seconds of an earlier run.
    pub fn add(&mut self, earlier: &Self) {
        for stage in STAGES {
            *self.account(stage) += *earlier.clone().account(stage);
        }
    }

    /// Name and seconds of each stage.
    pub fn stages(&self) -> [(&'static str, f64); 8] {
        let Self { open, calibrate, solve, reconstruct, retrain, advance, write, evaluate } = *self;
        [
            ("open", open),
            ("calibrate", calibrate),
            ("solve", solve),
            ("reconstruct", reconstruct),
            ("retrain", retrain),
            ("advance", advance),
            ("write", write),
            ("evaluate", evaluate),
        ]
    }

    fn account(&mut self, stage: Stage) -> &mut f64 {
        match stage {
            Stage::Open => &mut self.open,
            Stage::Calibrate => &mut self.calibrate,
            Stage::Solve => &mut self.solve,
            Stage::Reconstruct => &mut self.reconstruct,
            Stage::Retrain => &mut self.retrain,
            Stage::Advance => &mut self.advance,
            Stage::Write => &mut self.write,
            Stage::Evaluate => &mut self.evaluate,
        }
    }
}
