//! The part of the local Hugging Face cache that belongs to one repository.
//!
//! `blobs/<etag>` are the contents, `snapshots/<commit>/<file>` links to them, `refs/<revision>` names a commit.

use std::fs;
use std::path::{Path, PathBuf};

use super::Repository;
use crate::checkpoint::layout::{INDEX, SINGLE, read_index};
use crate::{Error, Result};

/// The directory `models--owner--name`, or `datasets--owner--name`.
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
    pub fn new(cache: &Path, id: &Repository) -> Self {
        Self { root: cache.join(format!("{}--{}", id.kind.name(), id.name.replace('/', "--"))) }
    }

    /// The directory of a revision, which is a commit or a reference to one; where there is one.
    pub fn find(&self, revision: &str) -> Option<PathBuf> {
        let direct = self.snapshot(revision);
        if direct.is_dir() {
            return Some(direct);
        }
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(self.snapshot(commit.trim()))
    }

    /// Looks for a model of a revision.
    pub fn lookup(&self, revision: &str) -> State {
        let Some(snapshot) = self.find(revision) else { return State::Absent };
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
        [self.root.join("blobs"), self.snapshot(commit)].iter().try_for_each(|dir| create(dir))
    }

    /// The files of a snapshot that go by `key`, if [`Self::list`] has named them and all are there. Of what others have put into
    /// a snapshot nobody knows whether it is all.
    pub fn listed(&self, revision: &str, key: &str) -> Option<Vec<PathBuf>> {
        let snapshot = self.find(revision)?;
        let names = fs::read_to_string(self.list_path(&snapshot, key)).ok()?;
        let files: Vec<PathBuf> = names.lines().map(|name| snapshot.join(name)).collect();
        (!files.is_empty() && files.iter().all(|file| file.is_file())).then_some(files)
    }

    /// Names the files of a snapshot that go by `key`.
    pub fn list(&self, snapshot: &Path, key: &str, files: &[String]) -> Result<()> {
        let path = self.list_path(snapshot, key);
        path.parent().map_or(Ok(()), create)?;
        fs::write(&path, files.join("\n")).map_err(Error::io("write", path))
    }

    fn list_path(&self, snapshot: &Path, key: &str) -> PathBuf {
        self.root.join(".lopper").join(snapshot.file_name().unwrap_or_default()).join(key)
    }

    /// Gives a blob its name in a snapshot.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let link = self.snapshot(commit).join(file);
        link.parent().map_or(Ok(()), create)?;
        #[cfg(unix)]
        let linked = {
            let up = "../".repeat(2 + file.matches('/').count());
            std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(etag), &link)
        };
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

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(Error::io("create", directory))
}

fn has_weights(snapshot: &Path) -> bool {
    if snapshot.join(SINGLE).is_file() {
        return true;
    }
    let index = read_index(&snapshot.join(INDEX));
    index.is_ok_and(|index| index.values().all(|shard| snapshot.join(shard).is_file()))
}
