//! A Hugging Face directory as a [`Checkpoint`]: `model.safetensors`, or `model.safetensors.index.json` and its shards.
//!
//! Everything that can be wrong with names, shapes, dtypes and offsets is found here, before any weight is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::dtype::StorageDtype;
use super::header::HeaderTensor;
use super::layout::{INDEX, SINGLE, check_present, is_sharded, read_index};
use super::shard::{Shard, ShardInfo};
use crate::{Error, Result, json};

/// An open, validated checkpoint. Weights stay in the files until they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    pub(super) shards: Vec<Shard>,
    infos: Vec<ShardInfo>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Further copies of tensors, in shards other than that which the index names.
    copies: Vec<(String, TensorInfo)>,
    /// Tensors that are read as their parts.
    divided: BTreeSet<String>,
    sharded: bool,
}

/// Where a tensor is and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Position of its file in [`Checkpoint::shards`].
    pub shard: usize,
    /// Its bytes, counted from the start of that file.
    pub bytes: Range<usize>,
}

/// What a part of a tensor along its first dimension is called.
pub fn part_of(name: &str, part: usize) -> String {
    format!("{name}[{part}]")
}

/// The tensor that a part is of, by its name, if it is one.
pub fn whole_of(name: &str) -> Option<&str> {
    let (whole, part) = name.strip_suffix(']')?.rsplit_once('[')?;
    (!part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit())).then_some(whole)
}

impl TensorInfo {
    /// Its parts along the first dimension, with their names.
    fn parts(&self, name: &str) -> impl Iterator<Item = (String, Self)> {
        let (count, size) = (self.shape[0], self.bytes.len() / self.shape[0].max(1));
        (0..count).map(move |part| {
            let start = self.bytes.start + part * size;
            let info = Self { shape: self.shape[1..].to_vec(), bytes: start..start + size, ..self.clone() };
            (part_of(name, part), info)
        })
    }

    /// The dtype as one this program can compute with, if it is one.
    pub fn storage(&self) -> Option<StorageDtype> {
        StorageDtype::of(self.dtype)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Checkpoint {
    /// Opens a directory and its shards, and validates every header.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there are no safetensors, a shard is missing, cut short or inconsistent, or the index
    /// and the shards contradict each other; [`Error::Io`] when a file cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let sharded = is_sharded(dir)?;
        let index = if sharded { Some(read_index(&dir.join(INDEX))?) } else { None };
        let files: Vec<String> = match &index {
            Some(index) => index.values().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
            None => vec![SINGLE.to_owned()],
        };
        let mut checkpoint = Self {
            dir: dir.to_owned(),
            shards: Vec::new(),
            infos: Vec::new(),
            tensors: BTreeMap::new(),
            copies: Vec::new(),
            divided: BTreeSet::new(),
            sharded,
        };
        let index = index.unwrap_or_default();
        for file in &files {
            check_present(dir, file)?;
            let (shard, info) = Shard::open(dir, file)?;
            checkpoint.add(shard, info, &index)?;
        }
        checkpoint.check_index(&index)?;

        Ok(checkpoint)
    }

    /// Takes in a shard. Of a tensor that lies in several, that in the shard of the `index` counts.
    fn add(&mut self, shard: Shard, info: ShardInfo, index: &BTreeMap<String, String>) -> Result<()> {
        for tensor in &info.header.tensors {
            let entry = TensorInfo {
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                shard: self.infos.len(),
                bytes: tensor.bytes.clone(),
            };
            if index.get(&tensor.name).is_some_and(|file| *file != info.file) {
                self.copies.push((tensor.name.clone(), entry));
                continue;
            }
            if let Some(other) = self.tensors.insert(tensor.name.clone(), entry) {
                let problem = format!("tensor `{}` is also in {}", tensor.name, self.infos[other.shard].file);
                let hint =
                    Some("one of the two files is left over from another save; write the checkpoint anew".into());
                return Err(Error::Checkpoint { path: shard.path, problem, hint });
            }
        }
        self.shards.push(shard);
        self.infos.push(info);
        Ok(())
    }

    /// Every tensor of the index must be in the shard that the index names.
    fn check_index(&self, index: &BTreeMap<String, String>) -> Result<()> {
        for (name, file) in index {
            let named = self.info(self.alias(name).unwrap_or(name));
            let elsewhere = || self.copies.iter().find(|(copied, _)| copied == name).map(|(_, info)| info);
            let found = named.or_else(elsewhere).map(|info| &self.infos[info.shard].file);
            if found != Some(file) {
                let place = found.map_or_else(|| "no shard has it".into(), |other| format!("it is in {other}"));
                return Err(Error::Checkpoint {
                    path: self.dir.join(INDEX),
                    problem: format!("the index puts tensor `{name}` in {file}, but {place}"),
                    hint: Some("the index and the shards come from different saves; fetch both again".into()),
                });
            }
        }
        Ok(())
    }

    /// Reads a tensor from now on as the parts along its first dimension, each of which is a tensor of its own: `name[0]`, `name[1]`, …
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it does not have so many parts. One that is not there is left to whoever asks for a part.
    pub fn divide(&mut self, name: &str, parts: usize) -> Result<()> {
        let Some(info) = self.tensors.get(name) else { return Ok(()) };
        if info.shape.len() < 2 || info.shape[0] != parts {
            let problem = format!("tensor {name:?} has shape {:?}, config.json says {parts} experts", info.shape);
            let hint = Some("config.json and the weights are of different models".into());
            return Err(Error::Checkpoint { path: self.dir.clone(), problem, hint });
        }
        if let Some((part, _)) = info.parts(name).find(|(part, _)| self.tensors.contains_key(part)) {
            let problem = format!("tensor {part:?} is there beside {name:?}, of which it would be a part");
            return Err(Error::Checkpoint { path: self.dir.clone(), problem, hint: None });
        }
        if let Some(info) = self.tensors.remove(name) {
            self.tensors.extend(info.parts(name));
            self.divided.insert(name.to_owned());
        }
        let copies = std::mem::take(&mut self.copies).into_iter();
        let divided = |(copied, info): (String, TensorInfo)| {
            let divides = copied == name && info.shape.first() == Some(&parts);
            if divides { info.parts(name).collect() } else { vec![(copied, info)] }
        };
        self.copies = copies.flat_map(divided).collect();
        Ok(())
    }

    /// The tensors that one of a header is read as: itself, or its parts.
    pub(super) fn read_as(&self, tensor: &HeaderTensor) -> Vec<(String, Range<usize>)> {
        let parts = |info: &TensorInfo| tensor.shape.len() == info.shape.len() + 1;
        let first = self.info(&part_of(&tensor.name, 0));
        if !self.divided.contains(&tensor.name) || !first.is_some_and(parts) {
            return vec![(tensor.name.clone(), tensor.bytes.clone())];
        }
        let (dtype, shape, bytes) = (tensor.dtype, tensor.shape.clone(), tensor.bytes.clone());
        let parts = TensorInfo { dtype, shape, shard: 0, bytes }.parts(&tensor.name).collect::<Vec<_>>();
        parts.into_iter().map(|(name, part)| (name, part.bytes)).collect()
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is known of a tensor without reading it.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The tensor that a name without one of its own stands for: whoever saved it noted in the metadata of its file that the two were the same.
    pub fn alias(&self, name: &str) -> Option<&str> {
        let said = self.infos.iter().find_map(|info| info.header.metadata.get(name))?;
        Some(said.as_str()).filter(|said| !self.tensors.contains_key(name) && self.tensors.contains_key(*said))
    }

    /// Further copies of a tensor, in shards that the index does not name for it, of the same shape and in a dtype of weights.
    pub(super) fn copies_of(&self, name: &str) -> impl Iterator<Item = (&TensorInfo, StorageDtype)> {
        let shape = self.info(name).map(|info| &info.shape);
        let copies = self.copies.iter().filter(move |(copied, info)| copied == name && Some(&info.shape) == shape);
        copies.filter_map(|(_, info)| Some((info, info.storage()?)))
    }

    /// Whether a shard has the tensor of this name, or a copy that is replaced with it.
    pub(super) fn is_replaced_in(&self, shard: usize, name: &str) -> bool {
        let own = self.info(name).into_iter().chain(self.copies_of(name).map(|(copy, _)| copy));
        own.into_iter().any(|info| info.shard == shard)
    }

    /// Every tensor of every shard, copies too, with its name.
    pub(super) fn everywhere(&self) -> impl Iterator<Item = (&String, &TensorInfo)> {
        self.tensors.iter().chain(self.copies.iter().map(|(name, info)| (name, info)))
    }

    /// Bytes of all tensors together.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|info| info.bytes.len() as u64).sum()
    }

    /// Numbers in all tensors together.
    pub fn total_elements(&self) -> usize {
        self.tensors.values().map(TensorInfo::elements).sum()
    }

    /// The files, sorted by name.
    pub fn shards(&self) -> &[ShardInfo] {
        &self.infos
    }

    /// Whether the directory has an index, however many shards it names.
    pub fn is_sharded(&self) -> bool {
        self.sharded
    }

    /// The parsed `config.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing or not JSON.
    pub fn config_json(&self) -> Result<serde_json::Value> {
        let path = self.dir.join("config.json");
        let fault =
            |problem: String, hint: &str| Error::Checkpoint { path: path.clone(), problem, hint: Some(hint.into()) };
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(fault("missing".into(), "copy config.json from the model's page into the directory"));
            }
            other => other.map_err(Error::io("read", &path))?,
        };
        json::from_slice(&bytes).map_err(|error| fault(format!("not valid JSON: {error}"), "fetch the file again"))
    }
}
