//! A checkpoint written as a copy of another: same shards, same headers, some tensors replaced, every other byte as it was.
//!
//! Replaced tensors are written at their place as they come, in any order; [`Rewrite::publish`] fills in the rest
//! from the source and moves the directory to its destination in one step. Memory is one piece of one tensor.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::companions::{Companion, companions};
use super::dtype::StorageDtype;
use super::layout::is_weights;
use super::open::{Checkpoint, TensorInfo};
use super::read::coordinates;
use super::staging::{Staging, create_sized};
use super::unfinished::Unfinished;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Elements of a replaced tensor that are converted and written at once.
const PIECE: usize = 4 << 20;

/// An output being written. Dropped before [`Rewrite::publish`], it leaves nothing behind, unless it is within an [`Unfinished`].
#[derive(Debug)]
pub struct Rewrite<'a> {
    source: &'a Checkpoint,
    /// One per shard of the source. Declared before `staging`: closed before the directory is removed.
    shards: Vec<OutputShard>,
    replaced: BTreeSet<String>,
    added: BTreeSet<String>,
    /// Whether the directory holds all that it is to hold.
    complete: bool,
    staging: Staging,
}

#[derive(Debug)]
struct OutputShard {
    path: PathBuf,
    file: File,
}

impl OutputShard {
    fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(offset as u64)).and_then(|_| self.file.write_all(bytes));
        written.map_err(Error::io("write", &self.path))
    }
}

impl<'a> Rewrite<'a> {
    /// Lays out the shards of `source` in a temporary directory beside `out`, headers written and space reserved.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when `out` is not vacant, is in the input, or has no parent; [`Error::Io`] when it cannot be
    /// written or the disk has too little space.
    pub fn begin(source: &'a Checkpoint, out: &Path) -> Result<Self> {
        Self::lay_out(source, Staging::create(out, source.dir())?, 0)
    }

    /// The same in a directory called `name` that stays, with what was written, until another process goes on. The disk must have
    /// `spare` bytes more than that takes.
    ///
    /// # Errors
    /// As [`Rewrite::begin`].
    pub fn begin_within(source: &'a Checkpoint, unfinished: &Unfinished, name: &str, spare: u64) -> Result<Self> {
        Self::lay_out(source, Staging::within(unfinished, name)?, spare)
    }

    /// Goes on in the directory that [`Rewrite::begin_within`] of another process has left, where `replaced` were written.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it does not have the shards of `source`; [`Error::Io`] when it cannot be written.
    pub fn go_on(
        source: &'a Checkpoint,
        unfinished: &Unfinished,
        name: &str,
        replaced: BTreeSet<String>,
    ) -> Result<Self> {
        let staging = Staging::left(unfinished, name);
        let mut shards = Vec::new();
        for info in source.shards() {
            let path = staging.path(&info.file);
            let opened = File::options().read(true).write(true).open(&path);
            let file = opened.map_err(|error| unfinished.damaged(path.clone(), format!("cannot open it: {error}")))?;
            let size = file.metadata().map_err(Error::io("read", &path))?.len();
            if size != info.size {
                let problem = format!("it has {size} bytes instead of {}: it was not left by this run", info.size);
                return Err(unfinished.damaged(path, problem));
            }
            shards.push(OutputShard { path, file });
        }
        Ok(Self { source, shards, replaced, added: BTreeSet::new(), complete: false, staging })
    }

    fn lay_out(source: &'a Checkpoint, staging: Staging, spare: u64) -> Result<Self> {
        let weights: u64 = source.shards().iter().map(|shard| shard.size).sum();
        let (others, _) = companions(source)?;
        staging.check_space(weights + others.iter().map(|other| other.size).sum::<u64>() + spare)?;
        let (replaced, added) = (BTreeSet::new(), BTreeSet::new());
        let mut rewrite = Self { source, shards: Vec::new(), replaced, added, complete: false, staging };
        for (info, read) in source.shards().iter().zip(&source.shards) {
            let path = rewrite.staging.path(&info.file);
            let mut shard = OutputShard { file: create_sized(&path, info.size)?, path };
            read.pieces(0..info.header.length, |before, bytes| shard.write_at(before, bytes))?;
            rewrite.shards.push(shard);
        }
        rewrite.staging.sync()?;
        Ok(rewrite)
    }

    /// Replaces a tensor by one of the shape of the file; stored in the dtype of the file.
    /// Given twice, the later one holds.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the name or shape is not that of the source, the source's dtype is none of weights, or a value is NaN
    /// or infinite as it would be stored; [`Error::Io`] when it cannot be written.
    pub fn put(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let info = self.source.require(name)?;
        let storage = self.check(name, info, tensor)?;
        // Until all of it is written the tensor counts as untouched, and `complete` would restore it.
        self.replaced.remove(name);
        self.complete = false;
        self.write_values(name, info, storage, tensor.host())?;
        // who ignores the index may read another copy
        for (copy, storage) in self.source.copies_of(name) {
            self.write_values(name, copy, storage, tensor.host())?;
        }
        self.replaced.insert(name.to_owned());
        Ok(())
    }

    /// What a replaced tensor has become, f32, as it is stored. `None` of one that was not replaced.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let replaced = self.source.info(name).filter(|_| self.replaced.contains(name));
        let Some((info, storage)) = replaced.and_then(|info| Some((info, info.storage()?))) else { return Ok(None) };
        let OutputShard { path, file } = &self.shards[info.shard];
        let (mut bytes, mut values) = (vec![0; info.bytes.len()], vec![0.0; info.elements()]);
        let mut file = file;
        let read = file.seek(SeekFrom::Start(info.bytes.start as u64)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(Error::io("read", path))?;
        storage.decode(&bytes, &mut values);
        Ok(Some(Tensor::new(info.shape.as_slice(), values)))
    }

    fn write_values(&mut self, name: &str, info: &TensorInfo, storage: StorageDtype, values: &[f32]) -> Result<()> {
        let mut bytes = vec![0; values.len().min(PIECE) * storage.size()];
        for (piece, values) in values.chunks(PIECE).enumerate() {
            let bytes = &mut bytes[..values.len() * storage.size()];
            storage.encode(values, bytes);
            if let Some(position) = storage.first_non_finite(bytes) {
                let place = coordinates(piece * PIECE + position, &info.shape);
                let value = values[position];
                let problem = format!(
                    "tensor `{name}` would hold {value:e} at {place:?}, which {storage:?} cannot store as a finite number"
                );
                return Err(self.fault(info, problem));
            }
            self.shards[info.shard].write_at(info.bytes.start + piece * PIECE * storage.size(), bytes)?;
        }
        Ok(())
    }

    fn check(&self, name: &str, info: &TensorInfo, tensor: &Tensor) -> Result<StorageDtype> {
        if tensor.shape() != info.shape {
            return Err(self.fault(
                info,
                format!("tensor `{name}` has the shape {:?}, its replacement {:?}", info.shape, tensor.shape()),
            ));
        }
        info.storage().ok_or_else(|| {
            self.fault(info, format!("tensor `{name}` is stored as {:?}, which cannot be replaced", info.dtype))
        })
    }

    /// Adds a file of the given name, or one instead of the source's (such as `config.json`).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the name is a path or that of a weight file; [`Error::Io`] when it cannot be written.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let plain = Path::new(name).file_name().is_some_and(|last| last == name);
        if !plain || is_weights(name) {
            let problem = format!(
                "`{name}` cannot be added to a checkpoint: it must be a plain name, and not that of a weight file"
            );
            return Err(Error::Checkpoint { path: self.staging.path(""), problem, hint: None });
        }
        self.staging.write(name, bytes)?;
        self.added.insert(name.to_owned());
        Ok(())
    }

    /// Copies what was not replaced and waits until all is on the disk. Returns the temporary directory, which can now
    /// be opened as a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn complete(&mut self) -> Result<&Path> {
        if self.complete {
            return Ok(self.staging.directory());
        }
        for shard in 0..self.shards.len() {
            self.copy_untouched(shard)?;
        }
        self.flush()?;
        for Companion { name, .. } in companions(self.source)?.0 {
            if !name.to_str().is_some_and(|name| self.added.contains(name)) {
                self.staging.copy(&self.source.dir().join(&name), &name)?;
            }
        }
        self.complete = true;
        Ok(self.staging.directory())
    }

    /// Waits until all that was put is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn flush(&self) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.file.sync_all().map_err(Error::io("flush", &shard.path)))
    }

    /// Moves the directory to its destination in one step, after [`Rewrite::complete`] if that is still to be done.
    ///
    /// # Errors
    /// [`Error::Io`]; an unfinished output that does not stay is then removed.
    pub fn publish(mut self) -> Result<()> {
        self.complete()?;
        let Self { shards, staging, .. } = self;
        drop(shards);
        staging.commit()
    }

    /// Copies every run of untouched tensors of one shard.
    fn copy_untouched(&mut self, shard: usize) -> Result<()> {
        let source = &self.source.shards[shard];
        for run in self.untouched(shard) {
            source.pieces(run.clone(), |before, bytes| self.shards[shard].write_at(run.start + before, bytes))?;
        }
        Ok(())
    }

    /// Byte ranges of a shard that hold untouched tensors, neighbours joined.
    fn untouched(&self, shard: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let tensors = &self.source.shards()[shard].header.tensors;
        for (name, bytes) in tensors.iter().flat_map(|tensor| self.source.read_as(tensor)) {
            if self.replaced.contains(&name) && self.source.is_replaced_in(shard, &name) {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == bytes.start => run.end = bytes.end,
                _ => runs.push(bytes),
            }
        }
        runs
    }

    fn fault(&self, info: &TensorInfo, problem: String) -> Error {
        Error::Checkpoint { path: self.source.dir().join(&self.source.shards()[info.shard].file), problem, hint: None }
    }
}
