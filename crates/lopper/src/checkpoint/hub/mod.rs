//! Finds the directory of a model: a local one, one in the local Hugging Face cache, or one fetched into that cache.
//!
//! The cache has the layout of `huggingface_hub` (`models--owner--name/{blobs,refs,snapshots}`), so models are shared
//! with Python. A revision that is in the cache is used as it is, without asking whether the Hub has a newer one.

mod cache;
mod client;
mod download;
mod part;
mod settings;

use std::path::{Path, PathBuf};

use cache::{RepositoryCache, State};
use client::Client;
pub use settings::HubSettings;

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

/// A model on the Hub: `owner/name`, or `owner/name@revision` with a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    /// `owner/name`.
    pub repository: String,
    /// Branch, tag or commit; `main` where none is given.
    pub revision: String,
}

impl ModelId {
    /// Parses `owner/name[@revision]`; none when it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (owner, name) = repository.split_once('/')?;
        let valid = is_name(owner) && is_name(name) && revision.split('/').all(is_name);
        valid.then(|| Self { repository: repository.to_owned(), revision: revision.to_owned() })
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
    let Some(id) = ModelId::parse(model) else {
        return Err(Error::Checkpoint {
            path: model.into(),
            problem: "there is no such directory".into(),
            hint: Some(
                "give the directory of a model, or a model on the Hub as owner/name or owner/name@revision".into(),
            ),
        });
    };
    let cache = RepositoryCache::new(&settings.cache, &id.repository);
    match cache.lookup(&id.revision) {
        State::Complete(snapshot) => return Ok(snapshot),
        State::WithoutTokenizer(snapshot) if settings.offline => return Ok(snapshot),
        _ if settings.offline => return Err(offline(&id, settings)),
        State::WithoutTokenizer(_) | State::Absent => {}
    }
    download::snapshot(&Client::new(settings), &cache, &id, progress)
}

fn offline(id: &ModelId, settings: &HubSettings) -> Error {
    Error::Hub {
        problem: format!(
            "{}@{} is not complete in the cache {}, and HF_HUB_OFFLINE forbids to fetch it",
            id.repository,
            id.revision,
            settings.cache.display()
        ),
        hint: Some("unset HF_HUB_OFFLINE, or give the directory of a copy of the model".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::ModelId;

    #[test]
    fn ids_have_an_owner_a_name_and_a_revision() {
        let id = ModelId::parse("owner/name-1.5B").unwrap();
        assert_eq!((id.repository.as_str(), id.revision.as_str()), ("owner/name-1.5B", "main"));
        assert_eq!(ModelId::parse("owner/name@refs/pr/3").unwrap().revision, "refs/pr/3");
        for path in
            ["name", "./a", "../a", "a/..", "a/b/c", "/a/b", "a/b@", "a/b@../c", "a/b@x//y", "a b/c", "~/a", "a\\b/c"]
        {
            assert_eq!(ModelId::parse(path), None, "{path}");
        }
    }
}
