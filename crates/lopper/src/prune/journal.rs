//! What a run has finished, on the disk after every window, so that the same command goes on after an interruption.
//!
//! In the [`Unfinished`] directory beside the output: `journal.json`; the hidden states after the last finished window; and the
//! files written so far. A window that was under way is made again: it reads nothing that it writes, so the end is the same to the
//! byte. What the run depends on (plan, weights, tokens, program) has a fingerprint; another run is refused.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::compress::Record;
use super::job::Job;
use super::streams::Streams;
use crate::calibration::HiddenStates;
use crate::checkpoint::{Checkpoint, Rewrite, Unfinished};
use crate::error::{Error, Result};
use crate::evaluation;
use crate::model::LinearId;
use crate::plan::{Allocation, Plan};
use crate::progress::Event;
use crate::report::{MatrixFacts, Rung, Timings, WindowFacts};

/// Its own file; it is there when anything is finished.
pub(super) const JOURNAL: &str = "journal.json";
/// The files of the pruned model, and those of the retrained one.
const MODEL: &str = "model";
const RETRAINED: &str = "retrained";
/// Hidden states after so many blocks: of the pruned model, of the dense one.
const STATES: [&str; 2] = ["inputs", "dense"];

/// What is kept of a run.
#[derive(Default, Serialize, Deserialize)]
struct State {
    version: String,
    fingerprint: String,
    seconds: f64,
    timings: Timings,
    warnings: Vec<String>,
    rungs: Vec<Scored>,
    /// Blocks finished.
    blocks: usize,
    matrices: Vec<MatrixFacts>,
    windows: Vec<WindowFacts>,
    replaced: BTreeSet<String>,
    retrained: bool,
}

/// A rung with its answers question by question, which a report leaves out.
#[derive(Serialize, Deserialize)]
struct Scored {
    rung: Rung,
    records: Vec<Vec<evaluation::Record>>,
}

/// Remembers a run; or only its scores, where nothing is kept.
pub(super) struct Journal<'a> {
    place: Option<&'a Unfinished>,
    state: State,
    started: Instant,
    /// Seconds of the runs before this one.
    before: f64,
}

impl<'a> Journal<'a> {
    /// Keeps nothing on the disk; knows the dense model's scores if they are given.
    pub fn of_scores(dense: Option<&Rung>) -> Self {
        let known = dense.into_iter().map(|rung| Scored { rung: rung.clone(), records: Vec::new() });
        let state = State { rungs: known.collect(), ..State::default() };
        Self { place: None, state, started: Instant::now(), before: 0.0 }
    }

    /// Begins, or takes up what an earlier run of the same fingerprint has left. What an earlier run of another left is thrown away
    /// if no block of it was finished.
    ///
    /// # Errors
    /// If more was left by another run, or it cannot be read.
    pub fn open(place: &'a Unfinished, fingerprint: String, plan: &Plan, job: &mut Job) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let new = State { version, fingerprint, ..State::default() };
        let state = match left(place)? {
            Some(state) if state.fingerprint == new.fingerprint => {
                job.take_up(&state.timings, &state.warnings);
                job.observer.event(Event::Warning(&format!(
                    "going on after {} finished blocks and {} scored models of an interrupted run",
                    state.blocks,
                    state.rungs.len()
                )));
                state
            }
            Some(state) if state.blocks > 0 => return Err(another(place, &state)),
            _ => {
                place.clear()?;
                let text = plan.to_toml()?;
                place.write("plan.toml", |file| file.write_all(text.as_bytes()))?;
                new
            }
        };
        Ok(Self { place: Some(place), before: state.seconds, state, started: Instant::now() })
    }

    /// The output, as far as it was written.
    pub fn rewrite<'s>(&self, source: &'s Checkpoint, out: &Path) -> Result<Rewrite<'s>> {
        let Some(place) = self.place else { return Rewrite::begin(source, out) };
        let name = if self.state.retrained { RETRAINED } else { MODEL };
        if self.state.blocks == 0 {
            return Rewrite::begin_within(source, place, name);
        }
        Rewrite::go_on(source, place, name, self.state.replaced.clone())
    }

    /// A second output beside the first.
    pub fn retrained_rewrite<'s>(&self, source: &'s Checkpoint, out: &Path) -> Result<Rewrite<'s>> {
        self.place.map_or_else(|| Rewrite::begin(source, out), |place| Rewrite::begin_within(source, place, RETRAINED))
    }

    /// The scores of a model: those that are known, else those that `score` finds.
    pub fn score(&mut self, job: &mut Job, name: &str, score: impl FnOnce(&mut Job) -> Result<Rung>) -> Result<()> {
        if self.state.rungs.iter().any(|scored| scored.rung.name == name) {
            return Ok(());
        }
        let rung = score(job)?;
        let records = rung.scores.tasks.iter().map(|task| task.records.clone()).collect();
        self.state.rungs.push(Scored { rung, records });
        self.save(job)
    }

    /// What was done before this run.
    pub fn record(&self, allocation: &Allocation) -> Record {
        let mut matrices = self.state.matrices.clone();
        for facts in &mut matrices {
            facts.pattern = allocation.get(LinearId { block: facts.block, role: facts.role }).copied();
        }
        Record { matrices, windows: self.state.windows.clone(), replaced: self.state.replaced.clone() }
    }

    /// Blocks finished before this run.
    pub fn blocks(&self) -> usize {
        self.state.blocks
    }

    /// Whether the model was retrained before this run.
    pub fn is_retrained(&self) -> bool {
        self.state.retrained
    }

    /// The hidden states after the blocks finished before this run; those of the pruned model first.
    pub fn states(&self, device: &Device) -> Result<Option<[Option<HiddenStates>; 2]>> {
        let Some(place) = self.place.filter(|_| self.state.blocks > 0) else { return Ok(None) };
        let [inputs, dense] = STATES.map(|name| {
            let path = place.path(&states_name(name, self.state.blocks));
            if !path.exists() {
                return Ok(None);
            }
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            HiddenStates::read(BufReader::new(file), device).map(Some).map_err(Error::io("read", &path))
        });
        Ok(Some([inputs?, dense?]))
    }

    /// After a window: everything is on the disk when this returns.
    pub fn window(
        &mut self,
        job: &Job,
        record: &Record,
        blocks: usize,
        streams: Option<&Streams>,
        rewrite: &Rewrite,
    ) -> Result<()> {
        let Some(place) = self.place else { return Ok(()) };
        rewrite.flush()?;
        let states = streams.map(|streams| [Some(&streams.inputs), streams.dense.as_ref()]).unwrap_or_default();
        for (name, states) in STATES.into_iter().zip(states) {
            let Some(states) = states else { continue };
            place.write(&states_name(name, blocks), |file| {
                let mut file = BufWriter::with_capacity(1 << 20, file);
                states.write(&mut file).and_then(|()| file.flush())
            })?;
        }
        let before = std::mem::replace(&mut self.state.blocks, blocks);
        self.keep(record);
        self.save(job)?;
        for name in STATES {
            // the journal no longer names it; where it cannot be removed, or never was, it does no harm
            let _ = fs::remove_file(place.path(&states_name(name, before)));
        }
        Ok(())
    }

    /// After retraining.
    pub fn retrained(&mut self, job: &Job, record: &Record, rewrite: &Rewrite) -> Result<()> {
        if self.place.is_some() {
            rewrite.flush()?;
        }
        self.keep(record);
        self.state.retrained = true;
        self.save(job)
    }

    /// Scores of all models, and the seconds that everything took.
    pub fn finish(self) -> (Vec<Rung>, f64) {
        let rungs = self.state.rungs.into_iter().map(|Scored { mut rung, records }| {
            rung.scores.tasks.iter_mut().zip(records).for_each(|(task, records)| task.records = records);
            rung
        });
        (rungs.collect(), self.before + self.started.elapsed().as_secs_f64())
    }

    fn keep(&mut self, record: &Record) {
        self.state.matrices.clone_from(&record.matrices);
        self.state.windows.clone_from(&record.windows);
        self.state.replaced.clone_from(&record.replaced);
    }

    fn save(&mut self, job: &Job) -> Result<()> {
        let Some(place) = self.place else { return Ok(()) };
        self.state.timings = job.timings.clone();
        self.state.warnings.clone_from(&job.warnings);
        self.state.seconds = self.before + self.started.elapsed().as_secs_f64();
        let bytes = serde_json::to_vec(&self.state).map_err(|error| Error::Numeric {
            problem: format!("the journal has no JSON form: {error}"),
            hint: None,
        })?;
        place.write(JOURNAL, |file| file.write_all(&bytes))
    }
}

fn states_name(name: &str, blocks: usize) -> String {
    format!("{name}-{blocks}")
}

/// The journal that an earlier run has left.
fn left(place: &Unfinished) -> Result<Option<State>> {
    let path = place.path(JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::Checkpoint {
        path,
        problem: format!("this is no journal of a run: {error}"),
        hint: Some(format!("remove {} to begin anew", place.directory().display())),
    })
}

fn another(place: &Unfinished, state: &State) -> Error {
    let directory = place.directory();
    Error::Checkpoint {
        path: directory.into(),
        problem: format!(
            "{} finished blocks of another run were left here: its plan, its model, its texts or its program (lopper {}) differ",
            state.blocks, state.version
        ),
        hint: Some(format!(
            "go on with its own plan (--plan {}), choose another output, or remove {} to begin anew",
            directory.join("plan.toml").display(),
            directory.display()
        )),
    }
}
