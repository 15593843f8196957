//! One safetensors file under a memory map.
//!
//! Pages come from the disk when they are touched and may be dropped again with [`Shard::release`]: they are clean,
//! so memory follows what is in use and not the size of the file.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::header::Header;
use crate::{Error, Result};

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its name in the directory.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its validated header.
    pub header: Header,
}

/// A [`ShardInfo`] and the bytes behind it.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    map: Mmap,
}

impl Shard {
    /// Maps `file` of the directory `dir` and validates its header.
    pub fn open(dir: &Path, file: &str) -> Result<(Self, ShardInfo)> {
        let path = dir.join(file);
        let handle = File::open(&path).map_err(Error::io("open", &path))?;
        // SAFETY: the map is read-only and lives as long as every slice taken from it. Its contract is that nobody
        // truncates or writes the file meanwhile; this program never does, and a checkpoint being changed by another
        // program while it is read could not be pruned by any other way of reading either.
        let map = unsafe { Mmap::map(&handle) }.map_err(Error::io("map", &path))?;
        let header = Header::parse(&map).map_err(|problem| Error::Checkpoint {
            hint: Some(advice(&map, &problem)),
            path: path.clone(),
            problem,
        })?;
        let info = ShardInfo { file: file.to_owned(), size: map.len() as u64, header };
        Ok((Self { path, map }, info))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the kernel that these bytes are needed soon: it reads them while the program goes on.
    pub fn prefetch(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() && range.end <= self.map.len() {
            // advice may be refused, which costs time and nothing else
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// Tells the kernel that these bytes are not needed for now. They are read again from the file when touched.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() && range.end <= self.map.len() {
            // SAFETY: `DontNeed` on a read-only map of a file drops clean pages, and the next access reads the same
            // bytes from the file: no slice into the map changes its contents. The range is inside the map.
            let advised = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // Advice may be refused, which costs memory and nothing else.
            drop(advised);
        }
        #[cfg(not(unix))]
        drop(range);
    }
}

/// What to try when a file's header cannot be used.
fn advice(file: &[u8], problem: &str) -> String {
    let text = if file.starts_with(b"version https://git-lfs") {
        "this is a Git LFS pointer and not the file itself; run `git lfs pull` in the directory"
    } else if file.starts_with(b"PK\x03\x04") {
        "this is a PyTorch archive with another ending; load it and call save_pretrained(dir, safe_serialization=True)"
    } else if file.starts_with(b"<") {
        "this is a web page saved under the file's name; download the file again"
    } else if problem.starts_with("truncated") {
        "the download or copy was cut short; fetch the file again"
    } else {
        "fetch the file again, or write it anew with save_pretrained(dir, safe_serialization=True)"
    };
    text.to_owned()
}
