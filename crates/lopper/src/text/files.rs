//! The files that a user means by the name of a file, a directory, or a pattern.

use std::path::{Path, PathBuf};

use super::source::fault;
use crate::error::{Error, Result};

/// Files that lie beside the texts of a directory and are none.
const BESIDE: [&str; 5] = ["readme", "license", "dataset_info", "dataset_infos", "state"];

/// The files behind `path`: itself; those in a directory, by name, but hidden ones and what describes them; or those that match a pattern as `texts/*.jsonl`.
///
/// # Errors
/// If there is no such file; a pipe is one.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(Error::io("list", path))?;
        let mut found: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|file| is_data(file)).collect();
        found.sort();
        let hint = "give files, or a directory with files of text in it, not in folders within it";
        return if found.is_empty() {
            Err(fault(path, "the directory holds no files of text", hint))
        } else {
            Ok(found)
        };
    }
    let pattern = path.to_str().filter(|pattern| !path.exists() && pattern.contains(['*', '?', '[']));
    let Some(pattern) = pattern else { return Ok(vec![path.into()]) };
    let found =
        glob::glob(pattern).map_err(|error| fault(path, &format!("not a pattern: {error}"), "as texts/*.jsonl"))?;
    let found: Vec<PathBuf> = found.flatten().filter(|file| file.is_file()).collect();
    if found.is_empty() {
        return Err(fault(
            path,
            "no file has such a name",
            "quote a pattern with the directory it is in, as 'texts/*.jsonl'",
        ));
    }
    Ok(found)
}

/// The files behind some paths.
///
/// # Errors
/// As [`files`].
pub(crate) fn all_files<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>> {
    Ok(paths.into_iter().map(|path| files(path)).collect::<Result<Vec<_>>>()?.concat())
}

fn is_data(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    file.is_file() && !name.starts_with(['.', '_']) && !BESIDE.contains(&stem)
}
