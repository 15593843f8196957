//! One safetensors file, read by pieces where and when its bytes are needed: memory follows what is in use and not the size of the
//! file, and a disk that fails or a file that became shorter is an error like any other.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::header::{Header, Prefix};
use crate::{Error, Result};

/// Bytes that are read at once; a multiple of the size of every element.
pub(crate) const PIECE: usize = 4 << 20;

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

/// The file behind a [`ShardInfo`].
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    file: Mutex<File>,
}

impl Shard {
    /// Opens `file` of the directory `dir` and validates its header.
    pub fn open(dir: &Path, file: &str) -> Result<(Self, ShardInfo)> {
        let path = dir.join(file);
        let mut handle = File::open(&path).map_err(Error::io("open", &path))?;
        let prefix = Prefix::read(&mut handle).map_err(Error::io("read", &path))?;
        let header = prefix.parse().map_err(|problem| Error::Checkpoint {
            hint: Some(advice(&prefix.bytes, &problem)),
            path: path.clone(),
            problem,
        })?;
        let info = ShardInfo { file: file.to_owned(), size: prefix.file as u64, header };
        Ok((Self { path, file: Mutex::new(handle) }, info))
    }

    /// Reads the bytes that begin at `start`.
    pub fn read(&self, start: usize, bytes: &mut [u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(start as u64)).and_then(|_| file.read_exact(bytes));
        read.map_err(Error::io("read", &self.path))
    }

    /// Shows `see` the bytes of `range`, piece by piece, each with how many came before it.
    pub fn pieces(&self, range: Range<usize>, mut see: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; range.len().min(PIECE)];
        for start in range.clone().step_by(PIECE) {
            let bytes = &mut buffer[..(range.end - start).min(PIECE)];
            self.read(start, bytes)?;
            see(start - range.start, bytes)?;
        }
        Ok(())
    }

    /// Reads `ranges` on a thread of its own and forgets them: the system has them at hand when they are needed. What fails here
    /// fails again, and is told, when they are.
    pub fn prefetch(&self, ranges: Vec<Range<usize>>) {
        let path = self.path.clone();
        let read = move || -> io::Result<()> {
            let (mut file, mut buffer) = (File::open(path)?, vec![0; PIECE]);
            for range in ranges {
                file.seek(SeekFrom::Start(range.start as u64))?;
                for start in range.clone().step_by(PIECE) {
                    file.read_exact(&mut buffer[..(range.end - start).min(PIECE)])?;
                }
            }
            Ok(())
        };
        let started = std::thread::Builder::new().name("prefetch".into()).spawn(read);
        // without a thread it is read when it is needed
        drop(started);
    }
}

/// What to try when a file's header cannot be used.
fn advice(start: &[u8], problem: &str) -> String {
    let text = if start.starts_with(b"version https://git-lfs") {
        "this is a Git LFS pointer and not the file itself; run `git lfs pull` in the directory"
    } else if start.starts_with(b"PK\x03\x04") {
        "this is a PyTorch archive with another ending; load it and call save_pretrained(dir, safe_serialization=True)"
    } else if start.starts_with(b"<") {
        "this is a web page saved under the file's name; download the file again"
    } else if problem.starts_with("truncated") {
        "the download or copy was cut short; fetch the file again"
    } else {
        "fetch the file again, or write it anew with save_pretrained(dir, safe_serialization=True)"
    };
    text.to_owned()
}
