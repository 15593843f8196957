//! What a run has finished, on the disk after every window, so that the same command goes on after an interruption.
//!
//! In the [`Unfinished`] directory beside the output: the journal; the hidden states after the last window where they were kept;
//! and the files written so far. A window that was under way is made again: it reads nothing that it writes, so the end is the same
//! to the byte. What the run depends on (plan, weights, texts, program, processor) has a fingerprint; another run is refused.

mod kept;
mod pace;
mod sealed;
mod state;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use super::job::Job;
use super::record::Record;
use super::states::States;
use crate::calibration::HiddenStates;
use crate::checkpoint::{Checkpoint, LOCK, Rewrite, Unfinished};
use crate::error::Result;
use crate::model::{Decoder, DecoderSpec};
use crate::plan::Allocation;
use crate::progress::Event;
use crate::report::{ScoredModel, Stage};
use crate::schedule::{self, Run};
use pace::Pace;
use sealed::seal;
use state::{Scored, State, nothing_to_redo};

pub(super) use state::Identity;
pub use state::check_journal;

/// Its own file; it is there when anything is finished.
pub(super) const JOURNAL: &str = "journal.cbor";
/// Its plan, for people.
const PLAN: &str = "plan.toml";
/// The files of the pruned model.
pub(super) const MODEL: &str = "model";
/// Those of a model of the ladder, or of the retrained model.
pub(super) const SECOND: &str = "second";
/// What is left of either when neurons are taken out.
const SMALLER: &str = "smaller";

/// Remembers a run; or only its scores, where nothing is kept.
pub(super) struct Journal<'a> {
    unfinished: Option<&'a Unfinished>,
    state: State,
    started: Instant,
    /// Seconds of the runs before this one.
    before: f64,
    pace: Pace,
}

impl<'a> Journal<'a> {
    /// Keeps nothing on the disk; knows the dense model's scores if they are given.
    pub fn of_scores(dense: Option<&ScoredModel>, started: Instant) -> Self {
        let known = dense.into_iter().map(|model| Scored { model: model.clone(), records: Vec::new() });
        let state = State { models: known.collect(), ..State::default() };
        Self { unfinished: None, state, started, before: 0.0, pace: Pace::default() }
    }

    /// Begins, or takes up what an earlier run of the same identity has left; with `redo`, its first blocks, where only what is
    /// done with them differs. What an earlier run of another left is thrown away if no block of it was finished.
    ///
    /// # Errors
    /// If more was left by another run, it cannot be read, or there is nothing to do again.
    pub fn open(
        unfinished: &'a Unfinished,
        identity: Identity,
        redo: Option<usize>,
        run: &Run,
        job: &mut Job,
        started: Instant,
    ) -> Result<Self> {
        let state = match (State::read(unfinished)?, redo) {
            (Some(state), _) if state.identity == identity => Some(state),
            (Some(state), Some(blocks)) if state.identity.input == identity.input => {
                Some(state.back_to(blocks, identity.clone(), unfinished, run.spec)?)
            }
            (Some(state), _) if state.blocks > 0 => return Err(state.is_anothers(&identity, unfinished)),
            (_, Some(_)) => return Err(nothing_to_redo(unfinished)),
            _ => None,
        };
        let taken = state.is_some();
        let new = || State { version: env!("CARGO_PKG_VERSION").into(), identity, ..State::default() };
        let state = state.unwrap_or_else(new);
        let mut journal =
            Self { unfinished: Some(unfinished), before: state.seconds, state, started, pace: Pace::default() };
        if taken {
            journal.take_up(unfinished, job)?;
        } else {
            unfinished.clear()?;
        }
        let text = run.plan.to_toml()?;
        unfinished.write(PLAN, |file| file.write_all(text.as_bytes()))?;
        Ok(journal)
    }

    fn take_up(&mut self, unfinished: &Unfinished, job: &mut Job) -> Result<()> {
        let state = &self.state;
        job.take_up(&state.timings, &state.warnings);
        job.observer.event(Event::Warning(&format!(
            "going on after {} finished blocks and {} scored models of an interrupted run",
            state.blocks,
            state.models.len()
        )));
        // what was taken back must never be taken up again
        self.save(job)?;
        let current = kept::names(self.state.states);
        let known = [LOCK, JOURNAL, PLAN, MODEL, SECOND];
        unfinished.clear_but(|name| known.contains(&name) || current.iter().any(|file| file == name))
    }

    /// Whether anything is kept in a directory; a disk that does not say may have it.
    pub fn is_in(directory: &Path) -> bool {
        directory.join(JOURNAL).try_exists().unwrap_or(true)
    }

    /// Forgets a run that is finished: first the journal, so that whatever is left of the rest is never taken up.
    pub fn end(unfinished: Unfinished) {
        let _ = fs::remove_file(unfinished.path(JOURNAL));
        unfinished.remove();
    }

    /// The output, as far as it was written; `spare` bytes more will be needed.
    pub fn rewrite<'s>(&self, source: &'s Checkpoint, out: &Path, spare: u64) -> Result<Rewrite<'s>> {
        let Some(unfinished) = self.unfinished else { return Rewrite::begin(source, out) };
        match (self.state.blocks, self.state.retrained) {
            (0, _) => Rewrite::begin_within(source, unfinished, MODEL, spare),
            (_, false) => Rewrite::go_on(source, unfinished, MODEL, self.state.replaced.clone()),
            (_, true) => Rewrite::go_on(source, unfinished, SECOND, self.state.replaced.clone()),
        }
    }

    /// A second output, for a model of the ladder or the retrained model.
    pub fn second<'s>(&self, source: &'s Checkpoint, out: &Path) -> Result<Rewrite<'s>> {
        self.unfinished.map_or_else(
            || Rewrite::begin(source, out),
            |unfinished| Rewrite::begin_within(source, unfinished, SECOND, 0),
        )
    }

    /// Where what is left of the output is written when neurons are taken out of it, if that is within an unfinished directory.
    pub fn smaller(&self) -> Option<(&Unfinished, &str)> {
        self.unfinished.map(|unfinished| (unfinished, SMALLER))
    }

    /// Gives the space of one of the two outputs back.
    pub fn release(&self, output: &str) -> Result<()> {
        self.unfinished.map_or(Ok(()), |unfinished| unfinished.clear_but(|name| name != output))
    }

    /// Whether a model of this name was scored.
    pub fn knows(&self, name: &str) -> bool {
        self.state.models.iter().any(|scored| scored.model.name == name)
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
        let mut found = find(job)?;
        if let Some((blocks, earlier)) = &self.state.earlier {
            found.take_blocks(earlier, *blocks);
        }
        self.state.allocation = Some(found.clone());
        self.save(job)?;
        Ok(found)
    }

    /// The scores of a model: those that are known, else those that `score` finds.
    pub fn score(
        &mut self,
        job: &mut Job,
        name: &str,
        score: impl FnOnce(&mut Job) -> Result<ScoredModel>,
    ) -> Result<()> {
        if self.knows(name) {
            return Ok(());
        }
        let model = score(job)?;
        let records = model.scores.tasks.iter().map(|task| task.records.clone()).collect();
        self.state.models.push(Scored { model, records });
        self.save(job)
    }

    /// What was done before this run.
    pub fn record(&self, allocation: &Allocation, spec: &DecoderSpec) -> Record {
        let mut matrices = self.state.matrices.clone();
        for facts in &mut matrices {
            let id = spec.linear_named(facts.block, &facts.name);
            facts.pattern = id.and_then(|id| allocation.get(id)).copied();
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

    /// The last hidden states that were kept before this run, as far as they are wanted, and after how many blocks. `None` where none
    /// were.
    pub fn states(
        &self,
        wanted: impl Iterator<Item = schedule::State>,
        decoder: &Decoder,
        job: &Job,
    ) -> Result<Option<(usize, States)>> {
        let Some(unfinished) = self.unfinished.filter(|_| self.state.states > 0) else { return Ok(None) };
        let states = kept::read(unfinished, self.state.states, wanted, decoder, job)?;
        Ok(Some((self.state.states, states)))
    }

    /// After a window: it is on the disk when this returns. So are the hidden states that another window will read, unless to keep
    /// them took more than a small part of the time since: then a run that goes on computes them anew from those kept before.
    pub fn window(
        &mut self,
        job: &mut Job,
        record: &Record,
        blocks: usize,
        states: &[(schedule::State, &HiddenStates)],
        rewrite: &Rewrite,
    ) -> Result<()> {
        let Some(unfinished) = self.unfinished else { return Ok(()) };
        let (started, before) = (Instant::now(), self.state.states);
        rewrite.flush()?;
        self.state.blocks = blocks;
        if self.pace.is_due() {
            kept::write(unfinished, blocks, states)?;
            self.state.states = if states.is_empty() { 0 } else { blocks };
            self.pace.kept(started);
        }
        self.keep(record);
        job.timings.note(Stage::Write, started);
        self.save(job)?;
        if before != self.state.states {
            kept::remove(unfinished, before);
        }
        Ok(())
    }

    /// After retraining.
    pub fn retrained(&mut self, job: &Job, record: &Record, rewrite: &Rewrite) -> Result<()> {
        if self.unfinished.is_some() {
            rewrite.flush()?;
        }
        self.keep(record);
        self.state.retrained = true;
        self.save(job)
    }

    /// Scores of all models, and the seconds that everything took.
    pub fn finish(self) -> (Vec<ScoredModel>, f64) {
        let models = self.state.models.into_iter().map(|Scored { mut model, records }| {
            model.scores.tasks.iter_mut().zip(records).for_each(|(task, records)| task.records = records);
            model
        });
        (models.collect(), self.before + self.started.elapsed().as_secs_f64())
    }

    fn keep(&mut self, record: &Record) {
        self.state.matrices.clone_from(&record.matrices);
        self.state.windows.clone_from(&record.windows);
        self.state.replaced.clone_from(&record.replaced);
    }

    fn save(&mut self, job: &Job) -> Result<()> {
        let Some(unfinished) = self.unfinished else { return Ok(()) };
        self.state.timings = job.timings.clone();
        self.state.warnings.clone_from(&job.warnings);
        self.state.seconds = self.before + self.started.elapsed().as_secs_f64();
        unfinished.write(JOURNAL, |file| file.write_all(&seal(&self.state)?))
    }
}
