//! A file on its way into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::download::{STRIDE, hub};
use crate::{Error, Result};

/// A file being downloaded, locked against other processes.
pub(super) struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Opens or creates the part of `blob`, and waits until no other process has it.
    pub fn open(blob: &Path) -> Result<Self> {
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        let path = blob.with_file_name(format!(".{name}.part"));
        let file =
            OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(Error::io("create", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(Self { file, path })
    }

    /// Makes the finished part the blob.
    pub fn complete(self, blob: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::io("flush", &self.path))?;
        fs::rename(&self.path, blob).map_err(Error::io("name", blob))
    }

    /// Bytes there so far.
    pub fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("read", &self.path))?.len())
    }

    /// Throws away what is there.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io("truncate", &self.path))
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull) {
            // The half of a file must not keep the disk full.
            drop(fs::remove_file(&self.path));
        }
        written.map_err(Error::io("write", &self.path))
    }

    /// Compares the contents with the etag, where that is a SHA-256; a file that differs is removed.
    pub fn check_hash(&mut self, file: &str, etag: Option<&str>) -> Result<()> {
        let sha256 = |etag: &&str| etag.len() == 64 && etag.chars().all(|digit| digit.is_ascii_hexdigit());
        let Some(expected) = etag.filter(sha256) else {
            return Ok(());
        };
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let mut buffer = vec![0; STRIDE];
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &self.path))?;
        loop {
            match self.file.read(&mut buffer).map_err(Error::io("read", &self.path))? {
                0 => break,
                count => context.update(&buffer[..count]),
            }
        }
        let found = hexadecimal(context.finish().as_ref());
        if found == expected {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(Error::io("remove", &self.path))?;
        Err(hub(
            format!("{file} arrived damaged: its SHA-256 is {found}, the Hub says {expected}"),
            Some("run again; the damaged file was removed"),
        ))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
