//! What a run has finished, on the disk after every window, so that the same command goes on after an interruption.
//!
//! In the [`Unfinished`] directory beside the output: the journal; the hidden states after the last finished window; and the
//! files written so far. A window that was under way is made again: it reads nothing that it writes, so the end is the same to the
//! byte. What the run depends on (plan, weights, texts, program, processor) has a fingerprint; another run is refused.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::compress::Record;
use super::job::Job;
use super::sealed::{seal, unseal};
use crate::calibration::HiddenStates;
use crate::checkpoint::{Checkpoint, LOCK, Rewrite, Unfinished};
use crate::error::{Error, Result};
use crate::evaluation;
use crate::model::LinearId;
use crate::plan::{Allocation, Plan};
use crate::progress::Event;
use crate::report::{MatrixFacts, Rung, Stage, Timings, WindowFacts};

/// Its own file; it is there when anything is finished.
pub(super) const JOURNAL: &str = "journal.cbor";
/// The plan, for people.
const PLAN: &str = "plan.toml";
/// The files of the pruned model.
const MODEL: &str = "model";
/// Those of a lower rung, or of the retrained model.
const SECOND: &str = "second";
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
    allocation: Option<Allocation>,
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
    pub fn of_scores(dense: Option<&Rung>, started: Instant) -> Self {
        let known = dense.into_iter().map(|rung| Scored { rung: rung.clone(), records: Vec::new() });
        let state = State { rungs: known.collect(), ..State::default() };
        Self { place: None, state, started, before: 0.0 }
    }

    /// Begins, or takes up what an earlier run of the same fingerprint has left. What an earlier run of another left is thrown away
    /// if no block of it was finished.
    ///
    /// # Errors
    /// If more was left by another run, or it cannot be read.
    pub fn open(
        place: &'a Unfinished,
        fingerprint: String,
        plan: &Plan,
        job: &mut Job,
        started: Instant,
    ) -> Result<Self> {
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
                let current = STATES.map(|name| states_name(name, state.blocks));
                let known = [LOCK, JOURNAL, PLAN, MODEL, SECOND];
                place.clear_but(|name| known.contains(&name) || current.iter().any(|file| file == name))?;
                state
            }
            Some(state) if state.blocks > 0 => return Err(another(place, &state)),
            _ => {
                place.clear()?;
                let text = plan.to_toml()?;
                place.write(PLAN, |file| file.write_all(text.as_bytes()))?;
                new
            }
        };
        Ok(Self { place: Some(place), before: state.seconds, state, started })
    }

    /// Whether anything is kept there.
    pub fn is_in(place: &Unfinished) -> bool {
        place.has(JOURNAL)
    }

    /// Forgets a run that is finished: first the journal, so that whatever is left of the rest is never taken up.
    pub fn end(place: Unfinished) {
        let _ = fs::remove_file(place.path(JOURNAL));
        place.remove();
    }

    /// The output, as far as it was written; `spare` bytes more will be needed.
    pub fn rewrite<'s>(&self, source: &'s Checkpoint, out: &Path, spare: u64) -> Result<Rewrite<'s>> {
        let Some(place) = self.place else { return Rewrite::begin(source, out) };
        match (self.state.blocks, self.state.retrained) {
            (0, _) => Rewrite::begin_within(source, place, MODEL, spare),
            (_, false) => Rewrite::go_on(source, place, MODEL, self.state.replaced.clone()),
            (_, true) => Rewrite::go_on(source, place, SECOND, self.state.replaced.clone()),
        }
    }

    /// A second output, for a rung or the retrained model.
    pub fn second<'s>(&self, source: &'s Checkpoint, out: &Path) -> Result<Rewrite<'s>> {
        self.place.map_or_else(|| Rewrite::begin(source, out), |place| Rewrite::begin_within(source, place, SECOND, 0))
    }

    /// Gives the space of the model before retraining back.
    pub fn release_first(&self) -> Result<()> {
        self.place.map_or(Ok(()), |place| place.clear_but(|name| name != MODEL))
    }

    /// Gives the space of a second output back.
    pub fn release_second(&self) -> Result<()> {
        self.place.map_or(Ok(()), |place| place.clear_but(|name| name != SECOND))
    }

    /// Whether a model of this name was scored.
    pub fn knows(&self, name: &str) -> bool {
        self.state.rungs.iter().any(|scored| scored.rung.name == name)
    }

    /// The pattern of every matrix: the one that is known, else the one that `find` finds.
    pub fn allocation(
        &mut self,
        job: &mut Job,
        find: impl FnOnce(&mut Job) -> Result<Allocation>,
    ) -> Result<Allocation> {
        if let Some(known) = &self.state.allocation {
            return Ok(known.clone());
        }
        let found = find(job)?;
        self.state.allocation = Some(found.clone());
        self.save(job)?;
        Ok(found)
    }

    /// The scores of a model: those that are known, else those that `score` finds.
    pub fn score(&mut self, job: &mut Job, name: &str, score: impl FnOnce(&mut Job) -> Result<Rung>) -> Result<()> {
        if self.knows(name) {
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

    /// The hidden states after the blocks finished before this run: the pruned model's, the dense one's, as far as they are wanted.
    /// `None` before the first block. They must be of `samples` in a model of width `hidden`.
    pub fn states(
        &self,
        wanted: [bool; 2],
        device: &Device,
        (samples, hidden): (&[Vec<u32>], usize),
    ) -> Result<Option<[Option<HiddenStates>; 2]>> {
        let Some(place) = self.place.filter(|_| self.state.blocks > 0) else { return Ok(None) };
        let read = |name: &str| {
            let path = place.path(&states_name(name, self.state.blocks));
            let states = File::open(&path).and_then(|file| HiddenStates::read(BufReader::new(file), device));
            match states {
                Ok(states) if states.fits(samples, hidden) => Ok(states),
                Ok(_) => Err(place.damaged(path, "these are not the hidden states of the calibration windows".into())),
                Err(error) => Err(place.damaged(path, format!("the hidden states cannot be read: {error}"))),
            }
        };
        let [inputs, dense] = [0, 1].map(|which| wanted[which].then(|| read(STATES[which])).transpose());
        Ok(Some([inputs?, dense?]))
    }

    /// After a window: everything is on the disk when this returns. Of the hidden states those that another window will read.
    pub fn window(
        &mut self,
        job: &mut Job,
        record: &Record,
        blocks: usize,
        states: [Option<&HiddenStates>; 2],
        rewrite: &Rewrite,
    ) -> Result<()> {
        let Some(place) = self.place else { return Ok(()) };
        let started = Instant::now();
        rewrite.flush()?;
        for (name, states) in STATES.into_iter().zip(states) {
            let Some(states) = states else { continue };
            // in pieces of a megabyte: no buffer
            place.write(&states_name(name, blocks), |file| states.write(file))?;
        }
        let before = std::mem::replace(&mut self.state.blocks, blocks);
        self.keep(record);
        job.timings.note(Stage::Write, started);
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
        place.write(JOURNAL, |file| file.write_all(&seal(&self.state)?))
    }
}

fn states_name(name: &str, blocks: usize) -> String {
    format!("{name}-{blocks}")
}

/// The journal that an earlier run has left; none of a run that was finished, and only not cleared away.
fn left(place: &Unfinished) -> Result<Option<State>> {
    if !place.has(JOURNAL) {
        return Ok(None);
    }
    let path = place.path(JOURNAL);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let state: State =
        unseal(&bytes).map_err(|error| place.damaged(path, format!("this is no journal of a run: {error}")))?;
    let model = if state.retrained { SECOND } else { MODEL };
    Ok((state.blocks == 0 || place.has(model)).then_some(state))
}

/// Whether bytes are a journal.
///
/// # Errors
/// Why they are none.
#[doc(hidden)]
pub fn check_journal(bytes: &[u8]) -> Result<(), String> {
    unseal::<State>(bytes).map(drop)
}

fn another(place: &Unfinished, state: &State) -> Error {
    let directory = place.directory();
    Error::Checkpoint {
        path: directory.into(),
        problem: format!(
            "{} finished blocks of another run were left here: its plan, model, texts, processor or program (lopper {}) differ",
            state.blocks, state.version
        ),
        hint: Some(format!(
            "go on with its own plan (--plan {}), choose another output, or remove {} to begin anew",
            directory.join(PLAN).display(),
            directory.display()
        )),
    }
}
