//! What lies beside the weights of a checkpoint: which of it goes along into a copy with other weights, and which does not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cards::card_names;
use super::layout::{INDEX, is_weights};
use super::open::Checkpoint;
use crate::{Error, Result};

/// A file beside the weights that belongs to the model.
pub(super) struct Companion {
    /// Its path in the directory.
    pub name: PathBuf,
    pub size: u64,
}

/// What tools leave in the folder of a model, and no one misses.
const BESIDE: [&str; 6] = [".git", ".gitattributes", ".gitignore", ".cache", ".DS_Store", ".ipynb_checkpoints"];
/// Folders within folders that a model has.
const DEEPEST: usize = 8;

/// Files beside the weights that belong to the model, in folders too: configuration, tokenizer, licence, code; and the paths of what
/// does not: hidden files, and other copies of the weights. The index belongs to it when there is one. Cards are neither: in
/// the copy they have other names.
pub(super) fn companions(source: &Checkpoint) -> Result<(Vec<Companion>, Vec<PathBuf>)> {
    let (mut companions, mut others) = (Vec::new(), Vec::new());
    let cards: Vec<PathBuf> = card_names().map(PathBuf::from).collect();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let dir = source.dir().join(&folder);
        let entries = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(Error::io("list", &dir))? {
            let name = folder.join(entry.file_name());
            let plain = entry.file_name().to_string_lossy().into_owned();
            // Follows links of files: the Hub's cache consists of them. A link that leads nowhere is no file.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                others.push(name);
                continue;
            };
            if metadata.is_file() && cards.contains(&name) {
                continue;
            }
            let is_own = source.shards().iter().any(|shard| name == Path::new(&shard.file));
            let is_index = name == Path::new(INDEX) && source.is_sharded();
            let is_hidden = plain.starts_with('.');
            if metadata.is_dir() && !is_hidden && !entry.path().is_symlink() && folder.components().count() < DEEPEST {
                folders.push(name);
            } else if metadata.is_file() && !is_hidden && (!is_weights(&plain) || is_index) {
                companions.push(Companion { name, size: metadata.len() });
            } else if !is_own && !BESIDE.contains(&plain.as_str()) {
                others.push(name);
            }
        }
    }
    companions.sort_by(|one, other| one.name.cmp(&other.name));
    others.sort();
    Ok((companions, others))
}

/// Files and folders in the directory of a checkpoint that a [`super::Rewrite`] of it leaves out, and someone might miss: other copies of the
/// weights, what is hidden, and links of folders.
///
/// # Errors
/// If the directory cannot be read.
pub fn left_out(source: &Checkpoint) -> Result<Vec<PathBuf>> {
    Ok(companions(source)?.1)
}
