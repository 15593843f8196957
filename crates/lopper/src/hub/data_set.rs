//! The files of a split of a data set, from the branch on which the Hub keeps every data set as Parquet:
//! `CONFIGURATION/SPLIT/0000.parquet`, `0001.parquet` and so on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::cache::RepositoryCache;
use super::client::Client;
use super::{HubSettings, Kind, Repository, Transfer, download, is_name, offline};
use crate::{Error, Result};

/// That branch.
const CONVERTED: &str = "refs/convert/parquet";
/// A split of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split<'a> {
    /// `owner/name`.
    pub data_set: &'a str,
    /// Which of its configurations; empty where there is one only.
    pub configuration: &'a str,
    /// `train`, `validation`, `test`, …
    pub name: &'a str,
}

/// The Parquet files of a split, in order: those of the cache, else downloaded into it.
///
/// # Errors
/// [`Error::Hub`] when they are not to be had, saying why.
pub fn split_files(split: &Split, settings: &HubSettings, progress: &mut dyn FnMut(Transfer)) -> Result<Vec<PathBuf>> {
    let id = Repository { kind: Kind::DataSet, name: split.data_set.into(), revision: CONVERTED.into() };
    let cache = RepositoryCache::new(&settings.cache, &id);
    let key = format!("{}.{}", split.configuration, split.name);
    if let Some(files) = cache.listed(CONVERTED, &key) {
        return Ok(files);
    }
    if settings.offline {
        return Err(offline(&id, settings));
    }
    let mut chosen = Vec::new();
    let choose = |files: &BTreeSet<String>| {
        chosen = choose(files, split)?;
        Ok(chosen.clone())
    };
    let snapshot = download::some(&Client::new(settings), &cache, &id, choose, progress)?;
    cache.list(&snapshot, &key, &chosen)?;
    Ok(chosen.iter().map(|file| snapshot.join(file)).collect())
}

/// Which files of the branch are those of a split, in order.
fn choose(files: &BTreeSet<String>, split: &Split) -> Result<Vec<String>> {
    let parts = files.iter().filter_map(|file| {
        let [configuration, name, part] = file.split('/').collect::<Vec<_>>().try_into().ok()?;
        let digits = part.strip_suffix(".parquet")?;
        let plain = is_name(configuration) && digits.chars().all(|digit| digit.is_ascii_digit());
        (plain && name == split.name).then_some((configuration, file))
    });
    let parts: Vec<(&str, &String)> = parts.collect();
    let configuration = configuration(split.configuration, parts.iter().map(|part| part.0));
    let own = parts.iter().filter(|part| Some(part.0) == configuration);
    let chosen: Vec<String> = own.map(|part| part.1.clone()).collect();
    if chosen.is_empty() { Err(missing(split, files)) } else { Ok(chosen) }
}

/// The configuration that is asked for; where none is named, that of those that have the split.
fn configuration<'a>(named: &'a str, there: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if !named.is_empty() {
        return Some(named);
    }
    let there: BTreeSet<&str> = there.collect();
    if there.len() == 1 { there.first().copied() } else { there.contains("default").then_some("default") }
}

fn missing(split: &Split, files: &BTreeSet<String>) -> Error {
    let Split { data_set, configuration, name } = split;
    let part = if configuration.is_empty() { String::new() } else { format!(" of configuration {configuration:?}") };
    let there: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.rsplit_once('/')?.0)).collect();
    let there: Vec<&str> = there.into_iter().collect();
    Error::Hub {
        problem: format!("the Hub has no split {name:?}{part} of the data set {data_set} as Parquet"),
        hint: Some(format!("it has: {}; a directory of your own is named with --task-data", there.join(", "))),
    }
}
