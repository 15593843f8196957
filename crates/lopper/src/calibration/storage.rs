//! Where hidden states are kept: in memory, or in a file without a name, which the system takes back however the process ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Where hidden states are kept.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// In memory.
    #[default]
    Memory,
    /// In a scratch file.
    Disk(Arc<Scratch>),
}

impl Storage {
    /// Whether that is in memory.
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::Memory)
    }

    /// On the disk that `directory` is on.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can be written there.
    pub fn on_disk(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).map_err(Error::io("create a scratch file in", directory))?;
        let slots = Slots { file, end: 0, free: BTreeMap::new() };
        Ok(Self::Disk(Arc::new(Scratch { directory: directory.into(), slots: Mutex::new(slots) })))
    }
}

/// A file of slots. Slots of one size take each other's place.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    file: File,
    end: u64,
    /// Offsets by size.
    free: BTreeMap<usize, Vec<u64>>,
}

impl Scratch {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Self>, bytes: &[u8]) -> Result<Slot> {
        let mut slots = self.slots();
        let offset = slots.take(bytes.len());
        // what cannot be written gives its place back
        let slot = Slot { scratch: self.clone(), offset, size: bytes.len() };
        let written = slots.file.seek(SeekFrom::Start(offset)).and_then(|_| slots.file.write_all(bytes));
        drop(slots);
        written.map_err(Error::io("write hidden states to a scratch file in", &self.directory))?;
        Ok(slot)
    }

    fn get(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut slots = self.slots();
        slots.file.seek(SeekFrom::Start(offset)).and_then(|_| slots.file.read_exact(bytes))
    }
}

impl Slots {
    fn take(&mut self, size: usize) -> u64 {
        if let Some(offset) = self.free.get_mut(&size).and_then(Vec::pop) {
            return offset;
        }
        self.end += size as u64;
        self.end - size as u64
    }
}

/// A place in the file, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    scratch: Arc<Scratch>,
    offset: u64,
    size: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.scratch.slots().free.entry(self.size).or_default().push(self.offset);
    }
}

/// Some bytes that never change; clones share them.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Memory(Arc<Vec<u8>>),
    Disk(Arc<Slot>),
}

impl Stored {
    pub fn new(bytes: Vec<u8>, storage: &Storage) -> Result<Self> {
        Ok(match storage {
            Storage::Memory => Self::Memory(Arc::new(bytes)),
            Storage::Disk(scratch) => Self::Disk(Arc::new(scratch.put(&bytes)?)),
        })
    }

    /// Their number.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk(slot) => slot.size,
        }
    }

    /// Shows them.
    pub fn with<R>(&self, see: impl FnOnce(&[u8]) -> R) -> Result<R> {
        match self {
            Self::Memory(bytes) => Ok(see(bytes)),
            Self::Disk(slot) => {
                let (mut bytes, scratch) = (vec![0; slot.size], &slot.scratch);
                let read = scratch.get(slot.offset, &mut bytes);
                read.map_err(Error::io("read hidden states from a scratch file in", &scratch.directory))?;
                Ok(see(&bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Storage, Stored};

    fn bytes(stored: &Stored) -> Vec<u8> {
        stored.with(<[u8]>::to_vec).expect("readable")
    }

    #[test]
    fn what_is_on_the_disk_is_as_it_was_and_its_place_is_used_again() {
        let home = tempfile::tempdir().expect("directory");
        let storage = Storage::on_disk(home.path()).expect("a file");
        let Storage::Disk(scratch) = &storage else { panic!("on the disk") };
        let put = |content: &[u8]| Stored::new(content.to_vec(), &storage).expect("written");
        let (first, second) = (put(b"abc"), put(b"defg"));
        let shared = first.clone();
        drop(first);
        let third = put(b"hij");
        assert_eq!([&shared, &second, &third].map(bytes), [b"abc".to_vec(), b"defg".to_vec(), b"hij".to_vec()]);
        assert_eq!(scratch.slots().end, 10, "a clone keeps its place");
        drop(shared);
        let (fourth, fifth) = (put(b"klm"), put(b""));
        assert_eq!(scratch.slots().end, 10, "the place of the first");
        assert_eq!([&fourth, &fifth, &third].map(bytes), [b"klm".to_vec(), Vec::new(), b"hij".to_vec()]);
        assert_eq!(std::fs::read_dir(home.path()).expect("listed").count(), 0, "the file has no name");
    }

    #[test]
    fn a_scratch_file_that_became_shorter_is_an_error() {
        let home = tempfile::tempdir().expect("directory");
        let storage = Storage::on_disk(home.path()).expect("a file");
        let Storage::Disk(scratch) = &storage else { panic!("on the disk") };
        let stored = Stored::new(vec![1; 100], &storage).expect("written");
        scratch.slots().file.set_len(50).expect("shorter");
        let error = stored.with(<[u8]>::len).expect_err("half of it is gone").to_string();
        assert!(error.contains("scratch file") && error.contains(&home.path().display().to_string()), "{error}");
    }
}
