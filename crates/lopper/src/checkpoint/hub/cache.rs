//! The part of the local Hugging Face cache that belongs to one model.
//!
//! `blobs/<etag>` are the contents, `snapshots/<commit>/<file>` links to them, `refs/<revision>` names a commit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::layout::{INDEX, SINGLE, read_index};
use crate::{Error, Result};

/// The directory `models--owner--name`.
#[derive(Debug)]
pub(super) struct RepositoryCache {
    root: PathBuf,
}

/// What the cache has of a revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Configuration, weights and tokenizer.
    Complete(PathBuf),
    /// Configuration and weights.
    WithoutTokenizer(PathBuf),
    /// Less than a model.
    Absent,
}

impl RepositoryCache {
    pub fn new(cache: &Path, repository: &str) -> Self {
        Self { root: cache.join(format!("models--{}", repository.replace('/', "--"))) }
    }

    /// Looks for a revision, which is a commit or a reference to one.
    pub fn lookup(&self, revision: &str) -> State {
        let direct = self.root.join("snapshots").join(revision);
        let snapshot = if direct.is_dir() {
            direct
        } else {
            let Ok(commit) = fs::read_to_string(self.root.join("refs").join(revision)) else {
                return State::Absent;
            };
            self.snapshot(commit.trim())
        };
        let usable = snapshot.join("config.json").is_file() && has_weights(&snapshot);
        match (usable, snapshot.join("tokenizer.json").is_file()) {
            (true, true) => State::Complete(snapshot),
            (true, false) => State::WithoutTokenizer(snapshot),
            (false, _) => State::Absent,
        }
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where the contents of the given etag are to be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Creates the directories that a download of `commit` needs.
    pub fn prepare(&self, commit: &str) -> Result<()> {
        for dir in [self.root.join("blobs"), self.snapshot(commit)] {
            fs::create_dir_all(&dir).map_err(Error::io("create", dir))?;
        }
        Ok(())
    }

    /// Gives a blob its name in a snapshot.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(commit).join(file);
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), &link);
        #[cfg(not(unix))]
        let linked = fs::hard_link(self.blob(etag), &link);
        match linked {
            // Another process was faster, with the same contents.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(Error::io("create", link)),
        }
    }

    /// Remembers which commit a revision was.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, commit));
        written.map_err(Error::io("write", path))
    }
}

fn has_weights(snapshot: &Path) -> bool {
    if snapshot.join(SINGLE).is_file() {
        return true;
    }
    let index = read_index(&snapshot.join(INDEX));
    index.is_ok_and(|index| index.values().all(|shard| snapshot.join(shard).is_file()))
}
