//! Finds the directory of a model: a local one, one in the local Hugging Face cache, or one fetched into that cache; and
//! the files of data sets, likewise.
//!
//! The cache has the layout of `huggingface_hub` (`models--owner--name/{blobs,refs,snapshots}`), so it is shared with
//! Python. A revision that is in the cache is used as it is, without asking whether the Hub has a newer one.

mod cache;
mod client;
mod data_set;
mod download;
mod part;
mod settings;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use cache::{RepositoryCache, State};
use client::Client;
pub use data_set::{Split, split_files};
pub use settings::HubSettings;

use crate::progress::{Event, Observer};
use crate::{Error, Result};

/// How far the download of one file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Bytes on the disk so far, those of an earlier, interrupted download included.
    pub done: u64,
    /// Bytes of the whole file, where the server says so.
    pub total: Option<u64>,
}

/// Tells of transfers: each file is a stage.
pub fn announce(observer: &mut dyn Observer) -> impl FnMut(Transfer) {
    let mut current = String::new();
    move |transfer| {
        if transfer.file != current {
            current = transfer.file.into();
            observer.event(Event::Stage { name: &format!("downloading {current}") });
        }
        if let Some(total) = transfer.total {
            observer.event(Event::Progress(transfer.done as f64 / total.max(1) as f64));
        }
    }
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    DataSet,
}

impl Kind {
    /// In the cache and in addresses.
    fn name(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::DataSet => "datasets",
        }
    }
}

/// A repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Repository {
    kind: Kind,
    /// `owner/name`.
    name: String,
    /// Branch, tag or commit.
    revision: String,
}

impl Repository {
    /// Parses `owner/name[@revision]`, a model; none when it is not of that form.
    fn model(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, own) = name.split_once('/')?;
        let valid = is_name(owner) && is_name(own) && revision.split('/').all(is_name);
        valid.then(|| Self { kind: Kind::Model, name: name.to_owned(), revision: revision.to_owned() })
    }
}

/// A model on the Hub, at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubModel {
    /// `owner/name`.
    pub id: String,
    /// The commit.
    pub commit: String,
}

impl HubModel {
    /// What a directory of the cache, `models--owner--name/snapshots/commit`, is of; none for any other.
    pub fn of_directory(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        let mut names = directory.components().rev().map(|part| part.as_os_str().to_str());
        let (commit, snapshots, repository) = (names.next()??, names.next()??, names.next()??);
        let id = repository.strip_prefix(Kind::Model.name())?.strip_prefix("--")?.replace("--", "/");
        Some(Self { id, commit: commit.into() }).filter(|model| snapshots == "snapshots" && model.is_valid())
    }

    /// Whether it has the form of an id and a commit.
    pub fn is_valid(&self) -> bool {
        let commit = !self.commit.is_empty() && self.commit.chars().all(|letter| letter.is_ascii_hexdigit());
        commit && Repository::model(&self.id).is_some_and(|repository| repository.name == self.id)
    }
}

/// Letters, digits and `-._`, and nothing that a path would take for a step.
fn is_name(part: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(allowed)
}

/// The directory of `model`, by the settings of the environment: see [`locate_with`].
///
/// # Errors
/// As [`locate_with`].
pub fn locate(model: &str, progress: &mut dyn FnMut(Transfer)) -> Result<PathBuf> {
    locate_with(model, &HubSettings::from_environment(), progress)
}

/// The directory of `model`: a path as it stands, else a Hub id from the cache, else downloaded into the cache.
///
/// # Errors
/// [`Error::Checkpoint`] when a path does not exist; [`Error::Hub`] when the model is not to be had, saying why.
pub fn locate_with(model: &str, settings: &HubSettings, progress: &mut dyn FnMut(Transfer)) -> Result<PathBuf> {
    if Path::new(model).exists() {
        return Ok(PathBuf::from(model));
    }
    let Some(id) = Repository::model(model) else {
        return Err(Error::Checkpoint {
            path: model.into(),
            problem: "there is no such directory".into(),
            hint: Some(
                "give the directory of a model, or a model on the Hub as owner/name or owner/name@revision".into(),
            ),
        });
    };
    let cache = RepositoryCache::new(&settings.cache, &id);
    match cache.lookup(&id.revision) {
        State::Complete(snapshot) => return Ok(snapshot),
        State::WithoutTokenizer(snapshot) if settings.offline => return Ok(snapshot),
        _ if settings.offline => return Err(offline(&id, settings)),
        State::WithoutTokenizer(_) | State::Absent => {}
    }
    download::snapshot(&Client::new(settings), &cache, &id, progress)
}

fn offline(id: &Repository, settings: &HubSettings) -> Error {
    Error::Hub {
        problem: format!(
            "{}@{} is not complete in the cache {}, and HF_HUB_OFFLINE forbids to fetch it",
            id.name,
            id.revision,
            settings.cache.display()
        ),
        hint: Some(match id.kind {
            Kind::Model => "unset HF_HUB_OFFLINE, or give the directory of a copy of the model".into(),
            Kind::DataSet => "unset HF_HUB_OFFLINE, or name a directory of data sets with --task-data".into(),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{HubModel, Repository};

    #[test]
    fn a_directory_of_the_cache_says_what_it_is_of() {
        let cache = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let directory = cache.path().join(name);
            std::fs::create_dir_all(&directory).unwrap();
            HubModel::of_directory(&directory)
        };
        let model = of("models--owner--name-1.5B/snapshots/0a1b").unwrap();
        assert_eq!((model.id.as_str(), model.commit.as_str()), ("owner/name-1.5B", "0a1b"));
        let others =
            ["owner/name", "models--name/snapshots/0a", "models--a--b--c/snapshots/0a", "models--a--b/refs/0a"];
        assert_eq!(
            [others.map(of), ["models--a--b/snapshots/x", "datasets--a--b/snapshots/0a", "a", "b"].map(of)].concat(),
            [const { None }; 8]
        );
    }

    #[test]
    fn ids_have_an_owner_a_name_and_a_revision() {
        let id = Repository::model("owner/name-1.5B").unwrap();
        assert_eq!((id.name.as_str(), id.revision.as_str()), ("owner/name-1.5B", "main"));
        assert_eq!(Repository::model("owner/name@refs/pr/3").unwrap().revision, "refs/pr/3");
        for path in
            ["name", "./a", "../a", "a/..", "a/b/c", "/a/b", "a/b@", "a/b@../c", "a/b@x//y", "a b/c", "~/a", "a\\b/c"]
        {
            assert_eq!(Repository::model(path), None, "{path}");
        }
    }
}
