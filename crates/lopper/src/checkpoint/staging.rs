//! A directory that appears complete or not at all: written beside its destination under a hidden name, then renamed.
//!
//! A crash leaves at most `.<name>.partial-<process>-<n>`, which nothing else reads; an error removes it. Within an
//! [`Unfinished`] directory it has a name of its own and stays, for the run that goes on.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::unfinished::Unfinished;
use crate::machine::free_space;
use crate::{Error, Result};

/// The unfinished directory. Dropping it without [`Staging::commit`] removes it, unless it stays for another run.
#[derive(Debug)]
pub(super) struct Staging {
    temporary: PathBuf,
    out: PathBuf,
    stays: bool,
}

impl Staging {
    /// Checks that `out` can become a new directory that is not in `input`, and creates the temporary one.
    pub fn create(out: &Path, input: &Path) -> Result<Self> {
        let out = place(out, input)?;
        let temporary = create_beside(&out)?;
        Ok(Self { temporary, out, stays: false })
    }

    /// One that outlives this process, empty.
    pub fn within(unfinished: &Unfinished, name: &str) -> Result<Self> {
        let staging = Self::left(unfinished, name);
        if staging.temporary.exists() {
            fs::remove_dir_all(&staging.temporary).map_err(Error::io("remove", &staging.temporary))?;
        }
        fs::create_dir(&staging.temporary).map_err(Error::io("create", &staging.temporary))?;
        Ok(staging)
    }

    /// The one that another process has left.
    pub fn left(unfinished: &Unfinished, name: &str) -> Self {
        Self { temporary: unfinished.path(name), out: unfinished.out().to_owned(), stays: true }
    }

    /// The directory while it is unfinished.
    pub fn directory(&self) -> &Path {
        &self.temporary
    }

    /// Where the file `name` is while the directory is unfinished.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temporary.join(name)
    }

    /// Fails when the disk has less than `needed` bytes left, as far as the system tells.
    pub fn check_space(&self, needed: u64) -> Result<()> {
        free_space(&self.temporary).map_or(Ok(()), |free| compare_space(needed, free, &self.out))
    }

    /// Makes the names in it durable.
    pub fn sync(&self) -> Result<()> {
        sync_directory(&self.temporary)
    }

    /// Writes a whole file and waits until it is on the disk.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let mut file = File::create(&path).map_err(Error::io("create", &path))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &path))
    }

    /// Copies a whole file from elsewhere and waits until it is on the disk.
    pub fn copy(&self, from: &Path, name: &Path) -> Result<()> {
        let path = self.temporary.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let mut source = File::open(from).map_err(Error::io("open", from))?;
        let mut file = File::create(&path).map_err(Error::io("create", &path))?;
        io::copy(&mut source, &mut file).and_then(|_| file.sync_all()).map_err(Error::io("write", &path))
    }

    /// Gives the directory its name. It may meanwhile have been created, empty, by someone else.
    pub fn commit(mut self) -> Result<()> {
        sync_directory(&self.temporary)?;
        #[cfg(not(unix))]
        if self.out.is_dir() {
            fs::remove_dir(&self.out).map_err(Error::io("replace", &self.out))?;
        }
        fs::rename(&self.temporary, &self.out).map_err(Error::io("move the finished output to", &self.out))?;
        self.stays = true;
        self.out.parent().map_or(Ok(()), sync_directory)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.stays {
            // Nothing is left to do about a directory that cannot be removed: the error that led here matters more.
            drop(fs::remove_dir_all(&self.temporary));
        }
    }
}

/// Writes a file that is whole or as it was: written beside it under a hidden name, then renamed.
///
/// # Errors
/// [`Error::Io`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.partial-{}-0", std::process::id()));
    let mut file = File::create(&temporary).map_err(Error::io("create", &temporary))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // the first error matters more
        drop(fs::remove_file(&temporary));
        Error::io("write", path)(error)
    })
}

/// Checks that `out` can become a new directory: its place is vacant, its parent there, and it is not in the `input`, if that is known.
///
/// # Errors
/// [`Error::Checkpoint`] saying what is in the way.
pub fn check_output(out: &Path, input: Option<&Path>) -> Result<()> {
    input.map_or_else(|| check_vacant(&resolve(out)?), |input| place(out, input).map(|_| ()))
}

/// Checks that `out` can become a new directory that is not in `input`; its absolute path.
pub(super) fn place(out: &Path, input: &Path) -> Result<PathBuf> {
    let out = resolve(out)?;
    let input = fs::canonicalize(input).map_err(Error::io("resolve", input))?;
    if out.starts_with(&input) {
        let problem = if out == input { "the output is the input" } else { "the output is inside the input" };
        return Err(refuse(&out, problem, "choose a directory outside of it; the input is never changed"));
    }
    check_vacant(&out)?;
    Ok(out)
}

/// Creates a file of `size` bytes, with its space taken from the disk now, so that a long run does not end on a full one.
pub(super) fn create_sized(path: &Path, size: u64) -> Result<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = opened.map_err(Error::io("create", path))?;
    file.set_len(size).map_err(Error::io("reserve space for", path))?;
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.max(1)) {
        // File systems without the operation find out when they write.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(Error::io("reserve space for", path)(error.into())),
    }
    Ok(file)
}

/// The absolute path of a directory that need not exist, in a parent that must.
pub(super) fn resolve(out: &Path) -> Result<PathBuf> {
    if out.exists() {
        return fs::canonicalize(out).map_err(Error::io("resolve", out));
    }
    let Some(name) = out.file_name() else {
        return Err(refuse(
            out,
            "this is no name for a new directory",
            "give a path that ends in the name of the output",
        ));
    };
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let problem = format!("the output's parent, {}, is not a directory", parent.display());
        return Err(refuse(out, &problem, "create it first, or choose another place"));
    }
    Ok(fs::canonicalize(parent).map_err(Error::io("resolve", parent))?.join(name))
}

/// The output may be absent or an empty directory.
fn check_vacant(out: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(out) else {
        return Ok(());
    };
    if !metadata.is_dir() {
        return Err(refuse(out, "the output exists and is not a directory", "choose another name"));
    }
    if fs::read_dir(out).map_err(Error::io("list", out))?.next().is_some() {
        return Err(refuse(
            out,
            "the output exists and is not empty",
            "choose another name, or remove the directory first",
        ));
    }
    Ok(())
}

/// A new hidden directory beside `out`. Another host may use the same process number on a shared disk.
fn create_beside(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut attempt = 0_u32;
    loop {
        let temporary = out.with_file_name(format!(".{name}.partial-{}-{attempt}", std::process::id()));
        match fs::create_dir(&temporary) {
            Ok(()) => return Ok(temporary),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 1000 => {
                attempt += 1;
            }
            Err(error) => return Err(Error::io("create", temporary)(error)),
        }
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(dir).and_then(|handle| handle.sync_all()).map_err(Error::io("flush", dir))?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

fn compare_space(needed: u64, available: u64, out: &Path) -> Result<()> {
    if needed <= available {
        return Ok(());
    }
    let problem = format!(
        "the output needs {} MB and the disk has {} MB left",
        needed.div_ceil(1_000_000),
        available / 1_000_000
    );
    let error = io::Error::new(ErrorKind::StorageFull, problem);
    Err(Error::io("write", out)(error))
}

fn refuse(path: &Path, problem: &str, hint: &str) -> Error {
    Error::Checkpoint { path: path.to_owned(), problem: problem.into(), hint: Some(hint.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_an_error_that_gives_both_sizes() {
        let out = Path::new("out");
        assert!(compare_space(10, 10, out).is_ok());
        let error = compare_space(2_000_001, 1_999_999, out).unwrap_err();
        assert_eq!(error.to_string(), "cannot write out: the output needs 3 MB and the disk has 1 MB left");
        assert!(error.hint().is_some_and(|hint| hint.contains("free some space")));
        assert!(error.is_machine());
    }
}
