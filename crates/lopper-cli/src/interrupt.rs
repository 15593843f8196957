//! Ctrl-C, and a polite request to end: what another run could not use is removed, then the process exits.
//!
//! Destructors do not run on a signal, so the handler knows what they would have removed. What `prune` writes is in
//! `.<name>.unfinished` beside its destination; any other output under way has a name that ends in `.partial-<process>-<n>`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lopper::prune::{remove_empty, unfinished};

/// The exit status that shells give to a process ended by ctrl-C.
const INTERRUPTED: i32 = 130;

/// What to remove when interrupted.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<Leftovers>>);

#[derive(Default)]
struct Leftovers {
    directories: Vec<PathBuf>,
    /// Directories in which this process may have partial outputs.
    parents: Vec<PathBuf>,
    /// The output of a run that can go on.
    resumable: Option<PathBuf>,
}

impl Interrupt {
    /// Installs the handler; once per process. Without support for signals an interrupted run leaves its leftovers.
    pub fn install() -> Self {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        let installed = ctrlc::set_handler(move || {
            let kept = handler.remove();
            let then =
                if kept { "the same command goes on where it was" } else { "what was unfinished has been removed" };
            eprintln!("\ninterrupted: {then}");
            std::process::exit(INTERRUPTED);
        });
        if installed.is_err() {
            eprintln!(
                "note: ctrl-C cannot be caught here; an interrupted run leaves a directory named .*.partial-* or .*.unfinished"
            );
        }
        interrupt
    }

    /// Removes this directory if interrupted.
    pub fn remove_directory(&self, directory: &Path) {
        self.edit(|leftovers| leftovers.directories.push(directory.into()));
    }

    /// Removes unfinished outputs beside `out` if interrupted.
    pub fn remove_partial(&self, out: &Path) {
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.edit(|leftovers| leftovers.parents.push(parent.into()));
    }

    /// The run that writes `out` can go on, if it has finished anything.
    pub fn keep_finished(&self, out: &Path) {
        self.edit(|leftovers| leftovers.resumable = Some(out.into()));
    }

    fn edit<R>(&self, change: impl FnOnce(&mut Leftovers) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether anything is left to go on with.
    fn remove(&self) -> bool {
        self.edit(|leftovers| {
            let partial = leftovers.parents.iter().flat_map(|parent| partial_outputs(parent));
            for directory in partial.chain(leftovers.directories.iter().cloned()) {
                // nothing better can be done with a failure here
                let _ = fs::remove_dir_all(directory);
            }
            let out = leftovers.resumable.as_deref();
            out.into_iter().for_each(remove_empty);
            out.and_then(unfinished).is_some()
        })
    }
}

/// The unfinished outputs of this process in `parent`.
fn partial_outputs(parent: &Path) -> Vec<PathBuf> {
    let mark = format!(".partial-{}-", std::process::id());
    let is_ours = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with('.') && name.contains(&mark));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(|entry| is_ours(&entry.file_name())).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::Interrupt;

    #[test]
    fn removes_what_is_unfinished_and_nothing_else() {
        let home = tempfile::tempdir().expect("directory");
        let path = |name: &str| home.path().join(name);
        let ours = format!(".out.partial-{}-0", std::process::id());
        let rung = format!(".out.pruned.partial-{}-1", std::process::id());
        for name in ["texts", "out", ".out.partial-1-0", &ours, &rung] {
            std::fs::create_dir(path(name)).expect("directory");
        }
        std::fs::write(path(&ours).join("model.safetensors"), "x").expect("file");
        let interrupt = Interrupt::default();
        interrupt.remove_directory(&path("texts"));
        interrupt.remove_partial(&path("out"));
        assert!(!interrupt.remove());
        let mut left: Vec<_> =
            std::fs::read_dir(home.path()).expect("listed").map(|entry| entry.expect("entry").file_name()).collect();
        left.sort();
        assert_eq!(left, [".out.partial-1-0", "out"]);
    }
}
