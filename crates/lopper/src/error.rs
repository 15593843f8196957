//! What can go wrong, grouped by stage. A message says what and where; [`Error::hint`] says what to try.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as an infinitive without "to" (`read`, `create`).
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A checkpoint, or a file beside it, is not what it should be.
    #[error("{}: {problem}", path.display())]
    Checkpoint {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong with it, naming tensor, shape and dtype.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A model that this program cannot represent, or whose parts do not fit together.
    #[error("{problem}")]
    Model {
        /// What does not fit.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Text or tokens that cannot be used as asked.
    #[error("{problem}")]
    Text {
        /// What is wrong, naming the file.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A plan that contradicts itself, or the model it is for.
    #[error("{problem}")]
    Plan {
        /// Which key has which impossible value.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// The Hub, or the network on the way to it.
    #[error("{problem}")]
    Hub {
        /// What was asked for and what came back.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Arithmetic that gave no usable result.
    #[error("{problem}")]
    Numeric {
        /// Which matrix and what happened.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Tensors whose shapes do not fit together: a defect of this program, or of its caller.
    #[error("tensors do not fit: {problem}")]
    Shape {
        /// Which shapes.
        problem: String,
    },
}

impl Error {
    /// For `map_err`: a file-system error with its context.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What to try, where there is something better than reading the message again.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Checkpoint { hint, .. }
            | Self::Model { hint, .. }
            | Self::Text { hint, .. }
            | Self::Plan { hint, .. }
            | Self::Hub { hint, .. }
            | Self::Numeric { hint, .. } => hint.as_deref(),
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => Some("free some space, or write to another disk"),
                std::io::ErrorKind::PermissionDenied => Some("check the permissions of that path"),
                _ => None,
            },
            Self::Shape { .. } => None,
        }
    }

    /// Whether the machine failed (disk, network, memory) rather than the plan or the data.
    pub fn is_machine(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                !matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData)
            }
            Self::Hub { .. } | Self::Shape { .. } => true,
            _ => false,
        }
    }
}

/// What `f` gives, or what it said when it panicked: for libraries that panic on damaged files.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        said.unwrap_or("it panicked").to_owned()
    })
}
