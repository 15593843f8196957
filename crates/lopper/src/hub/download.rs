//! Fetches a revision into the cache: configuration, tokenizer and documentation, then the weights.
//!
//! A file is written as `blobs/.<etag>.part`, resumed where an earlier attempt stopped, and gets its name only when size
//! and SHA-256 (where the Hub gives it) agree: an interrupted download never leaves a file that looks whole.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::cache::RepositoryCache;
use super::client::{Client, FileFacts};
use super::part::Part;
use super::{Repository, Transfer};
use crate::checkpoint::layout::{CONVERT, INDEX, SINGLE, is_weights, other_form, read_index};
use crate::{Error, Result};

/// Attempts at a file before the connection counts as broken.
const ATTEMPTS: usize = 4;
/// Bytes between two reports of progress.
pub(super) const STRIDE: usize = 1 << 20;

/// Everything that the downloads of one revision share.
struct Session<'a> {
    client: &'a Client,
    cache: &'a RepositoryCache,
    id: &'a Repository,
    commit: String,
    progress: &'a mut dyn FnMut(Transfer),
}

/// Fetches what the cache lacks of a model and returns its snapshot.
pub(super) fn snapshot(
    client: &Client,
    cache: &RepositoryCache,
    id: &Repository,
    progress: &mut dyn FnMut(Transfer),
) -> Result<PathBuf> {
    let (mut session, files) = Session::begin(client, cache, id, progress)?;
    for file in files.iter().filter(|file| is_companion(file)) {
        session.fetch(file)?;
    }
    session.fetch_weights(&files)?;
    session.end()
}

/// Fetches those files of a revision that `choose` names, in its order, as far as the cache lacks them; returns the snapshot.
pub(super) fn some(
    client: &Client,
    cache: &RepositoryCache,
    id: &Repository,
    choose: impl FnOnce(&BTreeSet<String>) -> Result<Vec<String>>,
    progress: &mut dyn FnMut(Transfer),
) -> Result<PathBuf> {
    let (mut session, files) = Session::begin(client, cache, id, progress)?;
    choose(&files)?.iter().try_for_each(|file| session.fetch(file))?;
    session.end()
}

/// Whether a file belongs to the model and holds no weights: configuration, tokenizer, chat templates, code, licence, model card.
fn is_companion(file: &str) -> bool {
    let template = file.strip_prefix("additional_chat_templates/").and_then(|name| name.strip_suffix(".jinja"));
    if template.is_some_and(|name| !name.contains(['/', '\\'])) {
        return true;
    }
    let endings = [".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".md"];
    let plain = !file.contains(['/', '\\']) && !file.starts_with('.');
    let wanted = endings.iter().any(|ending| file.ends_with(ending))
        || ["LICENSE", "NOTICE"].iter().any(|start| file.starts_with(start));
    plain && wanted && !is_weights(file)
}

impl<'a> Session<'a> {
    /// Asks for commit and files of a revision.
    fn begin(
        client: &'a Client,
        cache: &'a RepositoryCache,
        id: &'a Repository,
        progress: &'a mut dyn FnMut(Transfer),
    ) -> Result<(Self, BTreeSet<String>)> {
        let revision = client.revision(id)?;
        if revision.sha.is_empty() || !revision.sha.chars().all(|letter| letter.is_ascii_hexdigit()) {
            let problem = format!("the Hub names the impossible commit `{}` for {}", revision.sha, id.name);
            return Err(hub(problem, None));
        }
        cache.prepare(&revision.sha)?;
        let files = revision.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok((Self { client, cache, id, commit: revision.sha, progress }, files))
    }

    /// Remembers what the revision was.
    fn end(self) -> Result<PathBuf> {
        self.cache.remember(&self.id.revision, &self.commit)?;
        Ok(self.cache.snapshot(&self.commit))
    }

    fn fetch_weights(&mut self, files: &BTreeSet<String>) -> Result<()> {
        if files.contains(SINGLE) {
            return self.fetch(SINGLE);
        }
        if !files.contains(INDEX) {
            let weights = files.iter().find(|file| is_weights(file)).map(|file| (file.clone(), CONVERT));
            let found = other_form(&files.iter()).or(weights);
            let only = found.as_ref().map_or_else(String::new, |(what, _)| format!(", only {what}"));
            let problem = format!("{} has no {SINGLE} and no {INDEX}{only}", self.id.name);
            return Err(hub(problem, Some(found.map_or(CONVERT, |(_, hint)| hint))));
        }
        self.fetch(INDEX)?;
        let index = read_index(&self.cache.snapshot(&self.commit).join(INDEX))?;
        index.values().collect::<BTreeSet<_>>().into_iter().try_for_each(|shard| self.fetch(shard))
    }

    /// Fetches one file, unless the cache has it.
    fn fetch(&mut self, file: &str) -> Result<()> {
        if self.cache.snapshot(&self.commit).join(file).is_file() {
            return Ok(());
        }
        let facts = self.client.facts(self.id, &self.commit, file)?;
        // A mirror without etags gets a name that no other contents can have.
        let name = facts
            .etag
            .clone()
            .unwrap_or_else(|| blake3::hash(format!("{}/{file}", self.commit).as_bytes()).to_string());
        let blob = self.cache.blob(&name);
        if !blob.is_file() {
            self.fetch_blob(file, &facts, &blob)?;
        }
        self.cache.link(&self.commit, file, &name)
    }

    fn fetch_blob(&mut self, file: &str, facts: &FileFacts, blob: &Path) -> Result<()> {
        let mut part = Part::open(blob)?;
        if blob.is_file() {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match self.advance(file, facts, &mut part) {
                Ok(()) => break,
                Err(Error::Hub { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
        part.check_hash(file, facts.etag.as_deref())?;
        part.complete(blob)
    }

    /// Continues a partial file to its end, or fails where the connection does.
    fn advance(&mut self, file: &str, facts: &FileFacts, part: &mut Part) -> Result<()> {
        let mut done = part.length()?;
        if facts.size == Some(done) && done > 0 {
            return Ok(());
        }
        if facts.size.is_none_or(|size| done > size) {
            part.restart()?;
            done = 0;
        }
        let response = self.client.contents(self.id, &self.commit, file, done)?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            part.restart()?;
            done = 0;
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(hub(format!("{file} of {} changed while it was downloaded", self.id.name), Some("try again")));
        }
        let total = facts.size.or_else(|| response.body().content_length().map(|rest| done + rest));
        self.receive(file, response, part, Transfer { file, done, total })
    }

    /// Appends a response to the partial file.
    fn receive(&mut self, file: &str, response: Response<Body>, part: &mut Part, mut state: Transfer) -> Result<()> {
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; STRIDE];
        (self.progress)(state);
        loop {
            let count = body.read(&mut buffer).map_err(|error| self.interrupted(file, state, &error.to_string()))?;
            if count == 0 {
                break;
            }
            part.append(&buffer[..count])?;
            state.done += count as u64;
            (self.progress)(state);
        }
        match state.total {
            Some(total) if total != state.done => Err(self.interrupted(file, state, "the connection was closed")),
            _ => Ok(()),
        }
    }

    fn interrupted(&self, file: &str, state: Transfer, why: &str) -> Error {
        let total = state.total.map_or_else(String::new, |total| format!(" of {total}"));
        hub(
            format!("the download of {file} of {} stopped after {}{total} bytes: {why}", self.id.name, state.done),
            Some("run again to continue where it stopped"),
        )
    }
}

pub(super) fn hub(problem: String, hint: Option<&str>) -> Error {
    Error::Hub { problem, hint: hint.map(str::to_owned) }
}
