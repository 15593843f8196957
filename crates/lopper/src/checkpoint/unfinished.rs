//! `.NAME.unfinished`, beside the output NAME: what a run that was interrupted needs to go on.
//!
//! One process at a time works in it: it holds a lock, which the system takes back however the process ends. Files appear in it
//! complete or not at all, and are on the disk before anything relies on them.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::staging::{place, sync_directory};
use crate::{Error, Result};

const LOCK: &str = "lock";

/// The directory of a run under way.
#[derive(Debug)]
pub struct Unfinished {
    directory: PathBuf,
    out: PathBuf,
    _lock: File,
}

impl Unfinished {
    /// Where that of an output is, whether or not it is there.
    pub fn beside(out: &Path) -> PathBuf {
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        out.with_file_name(format!(".{name}.unfinished"))
    }

    /// Creates it, or takes up the one that an earlier run has left.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when `out` is not vacant, is in the input, has no parent, or another process is at work on it;
    /// [`Error::Io`] when it cannot be written.
    pub fn open(out: &Path, input: &Path) -> Result<Self> {
        let out = place(out, input)?;
        let directory = Self::beside(&out);
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let path = directory.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        match lock.try_lock() {
            // where the file system has no locks, nothing keeps others out
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { directory, out, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Checkpoint {
                path: out,
                problem: "another lopper is at work on this output".into(),
                hint: Some("wait until it has ended, or choose another name".into()),
            }),
        }
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

    /// Removes all of it but the lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.directory).map_err(Error::io("list", &self.directory))?.flatten() {
            let path = entry.path();
            if entry.file_name() != LOCK {
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
