//! `.NAME.unfinished`, beside the output NAME: what a run that was interrupted needs to go on.
//!
//! One process at a time works in it: it holds a lock, which the system takes back however the process ends. Files appear in it
//! complete or not at all, and are on the disk before anything relies on them.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::staging::{place, resolve, sync_directory};
use crate::{Error, Result};

/// Held while a process is at work.
pub const LOCK: &str = "lock";

/// The directory of a run under way.
#[derive(Debug)]
pub struct Unfinished {
    directory: PathBuf,
    out: PathBuf,
    _lock: File,
}

impl Unfinished {
    /// Where that of an output is, whether or not it is there; `None` of what is no place for an output.
    pub fn beside(out: &Path) -> Option<PathBuf> {
        resolve(out).ok().map(|out| hidden(&out))
    }

    /// Creates it, or takes up the one that an earlier run has left.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when `out` is not vacant, is in the input, has no parent, or another process is at work on it;
    /// [`Error::Io`] when it cannot be written.
    pub fn open(out: &Path, input: &Path) -> Result<Self> {
        let out = place(out, input)?;
        let directory = hidden(&out);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        directory.parent().map_or(Ok(()), sync_directory)?;
        let path = directory.join(LOCK);
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let mut lock = opened.map_err(Error::io("create", &path))?;
        // where the file system has no locks, nothing keeps others out
        let busy = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
        // the other one may have finished, and removed all of it, just before
        if busy || !path.exists() {
            return Err(Error::Checkpoint {
                path: out,
                problem: "another lopper is at work on this output".into(),
                hint: Some("wait until it has ended, or choose another name".into()),
            });
        }
        let written = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        written.map_err(Error::io("write", &path))?;
        Ok(Self { out: place(&out, input)?, directory, _lock: lock })
    }

    /// Whether this process is at work on an output.
    pub fn is_ours(directory: &Path) -> bool {
        fs::read_to_string(directory.join(LOCK)).is_ok_and(|holder| holder == std::process::id().to_string())
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The output.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file: `fill` gives its contents. It has its name only when all of it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, name: &str, fill: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        let (path, temporary) = (self.path(name), self.path(&format!("{name}.part")));
        let mut file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
        fill(&mut file)
            .and_then(|()| file.flush())
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &path))?;
        fs::rename(&temporary, &path).map_err(Error::io("write", &path))?;
        sync_directory(&self.directory)
    }

    /// What to say of something in it that no run has left so.
    pub fn damaged(&self, path: PathBuf, problem: String) -> Error {
        let hint = Some(format!("remove {} to begin anew", self.directory.display()));
        Error::Checkpoint { path, problem, hint }
    }

    /// Whether a file is in it; a disk that does not say may have it.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).try_exists().unwrap_or(true)
    }

    /// Removes all of it but the lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<()> {
        self.clear_but(|name| name == LOCK)
    }

    /// Removes what has another name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear_but(&self, stays: impl Fn(&str) -> bool) -> Result<()> {
        for entry in fs::read_dir(&self.directory).map_err(Error::io("list", &self.directory))?.flatten() {
            let path = entry.path();
            if !stays(&entry.file_name().to_string_lossy()) {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes it: the run is finished.
    pub fn remove(self) {
        // the output is there; what cannot be removed does no harm
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn hidden(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    out.with_file_name(format!(".{name}.unfinished"))
}
