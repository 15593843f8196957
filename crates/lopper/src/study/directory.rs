//! The directory of a study: `study.toml`, `runs/<fingerprint>.json`, `table.md`, `results.json`, plots, and
//! `models/<fingerprint>/` while a run goes on, or for good where models are kept.
//!
//! Every file appears complete or not at all: written beside its name, then renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::definition::Study;
use super::wrong;
use crate::checkpoint::replace;
use crate::error::{Error, Result};
use crate::report::ScoredModel;

/// What became of a run: its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this program.
    pub version: String,
    /// Of all that determines the run.
    pub fingerprint: String,
    /// Its values on the axes of the study.
    pub point: BTreeMap<String, String>,
    /// What was run, every default filled in.
    pub settings: serde_json::Value,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With these findings.
    Done(Finding),
    /// With this message.
    Failed(String),
}

/// What a run found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Finding {
    /// By the names of [`super::MEASURES`].
    pub measures: BTreeMap<String, f64>,
    /// Perplexities, from dense to final.
    pub evaluation: Vec<ScoredModel>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Record {
    /// What it found, unless it failed.
    pub fn finding(&self) -> Option<&Finding> {
        match &self.outcome {
            Outcome::Done(finding) => Some(finding),
            Outcome::Failed(_) => None,
        }
    }
}

/// Where a study keeps what it finds.
pub(super) struct Directory {
    root: PathBuf,
    /// Held while a study is at work; the system lets go of it however the program ends.
    _lock: File,
}

const LOCK: &str = ".lock";
const STUDY: &str = "study.toml";
const RUNS: &str = "runs";
const MODELS: &str = "models";
/// In the names of what is unfinished; the number of the process follows.
const PARTIAL: &str = ".partial-";

impl Directory {
    /// Creates it, or takes up the one of an earlier call.
    ///
    /// # Errors
    /// If it is part of the model, holds something that is not this study, or another process is at work in it.
    pub fn open(root: &Path, study: &Study, model: Option<&Path>) -> Result<Self> {
        if root.exists() {
            check_same(root, study)?;
        }
        if model.is_some_and(|model| is_inside(root, model)) {
            return Err(wrong(
                &format!("{}: the output is inside the model", root.display()),
                "choose a directory outside of it; the input is never changed",
            ));
        }
        let runs = root.join(RUNS);
        fs::create_dir_all(&runs).map_err(Error::io("create", &runs))?;
        let directory = Self { root: root.into(), _lock: lock(root)? };
        directory.write(STUDY, study.to_toml()?.as_bytes())?;
        Ok(directory)
    }

    /// The record of an earlier run; one that cannot be read counts as none.
    pub fn record(&self, fingerprint: &str) -> Option<Record> {
        let bytes = fs::read(self.root.join(run_name(fingerprint))).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.fingerprint == fingerprint)
    }

    /// Keeps a record.
    pub fn keep(&self, record: &Record) -> Result<()> {
        self.write(&run_name(&record.fingerprint), &json(record)?)
    }

    /// Where the model of a run is kept.
    pub fn model(&self, fingerprint: &str) -> PathBuf {
        self.root.join(MODELS).join(fingerprint)
    }

    /// Where the model of a run is until its report was taken; an interrupted program removes directories of such names.
    pub fn passing_model(&self, fingerprint: &str) -> PathBuf {
        self.root.join(MODELS).join(format!(".{fingerprint}{PARTIAL}{}-study", std::process::id()))
    }

    /// Makes the place for models, and removes what a killed program has left there.
    pub fn create_models(&self) -> Result<()> {
        let models = self.root.join(MODELS);
        fs::create_dir_all(&models).map_err(Error::io("create", &models))?;
        for entry in fs::read_dir(&models).map_err(Error::io("list", &models))?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') && name.to_string_lossy().contains(PARTIAL) {
                fs::remove_dir_all(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Removes the place for models if nothing is in it.
    pub fn remove_empty_models(&self) {
        // a directory that holds something stays: that is what this relies on
        let _ = fs::remove_dir(self.root.join(MODELS));
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        replace(&self.root.join(name), bytes)
    }
}

/// Keeps other processes out. Where the file system has no locks, nothing does.
fn lock(root: &Path) -> Result<File> {
    let path = root.join(LOCK);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(wrong(
            &format!("another lopper is at work in {}", root.display()),
            "wait until it has ended, or choose another directory",
        )),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Whether a directory that need not exist is, or would be, in another.
fn is_inside(root: &Path, outer: &Path) -> bool {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.into());
    let existing = absolute.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok());
    existing.zip(fs::canonicalize(outer).ok()).is_some_and(|(existing, outer)| existing.starts_with(outer))
}

/// A directory that exists must be empty, or hold a study of the same name.
fn check_same(root: &Path, study: &Study) -> Result<()> {
    let file = root.join(STUDY);
    if !file.exists() {
        let entries = fs::read_dir(root).map_err(Error::io("list", root))?;
        return match entries.flatten().find(|entry| entry.file_name() != LOCK && entry.file_name() != RUNS) {
            None => Ok(()),
            Some(_) => Err(wrong(
                &format!("{}: the directory is not empty, and holds no study", root.display()),
                "choose another name; a study goes on in the directory where it began",
            )),
        };
    }
    let held = Study::read(&file)?.name;
    if held == study.name {
        return Ok(());
    }
    Err(wrong(&format!("{} holds the study {held}, not {}", root.display(), study.name), "choose another directory"))
}

fn run_name(fingerprint: &str) -> String {
    format!("{RUNS}/{fingerprint}.json")
}

/// Indented JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value);
    let mut text = text.map_err(|error| wrong(&format!("the result has no JSON form: {error}"), ""))?;
    text.push(b'\n');
    Ok(text)
}
