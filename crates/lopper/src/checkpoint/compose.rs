//! A checkpoint written as a smaller copy of another: some tensors have lost rows or columns, or are gone, and config.json says so.
//!
//! Every number that stays has the bytes that it had. Memory is one tensor.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::companions::{Companion, companions};
use super::header::HeaderTensor;
use super::layout::INDEX;
use super::open::Checkpoint;
use super::staging::{Staging, create_sized};
use super::unfinished::Unfinished;
use crate::{Error, Result};

/// Bytes that the header of a file is a multiple of.
const ALIGNMENT: usize = 8;
const CONFIG: &str = "config.json";

/// What stays of a tensor along one of its dimensions, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The dimension.
    pub axis: usize,
    /// Places along it, in order.
    pub keep: Vec<usize>,
}

/// What becomes of a checkpoint.
pub struct Changes<'a> {
    /// Tensors of which less stays, by their names in the source.
    pub cuts: BTreeMap<String, Cut>,
    /// The new name of a tensor; `None` if it goes.
    pub name: &'a dyn Fn(&str) -> Option<String>,
    /// What config.json is to be.
    pub config: &'a Value,
}

/// A smaller copy, complete but for its name. Dropped before [`Composition::publish`], it leaves nothing behind, unless it is within an
/// [`Unfinished`].
#[derive(Debug)]
pub struct Composition(Staging);

impl Composition {
    /// Writes the copy, beside `out` or within what is unfinished under a `name`. What is no tensor is as in `source`, but for
    /// config.json; a file all of whose tensors go is left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a cut does not fit its tensor; [`Error::Io`] when the copy cannot be written.
    pub fn write(
        source: &Checkpoint,
        (out, unfinished): (&Path, Option<(&Unfinished, &str)>),
        changes: &Changes,
    ) -> Result<Self> {
        let staging = match unfinished {
            Some((unfinished, name)) => Staging::within(unfinished, name)?,
            None => Staging::create(out, source.dir())?,
        };
        let others = companions(source)?.0;
        let mut total = 0;
        for shard in 0..source.shards().len() {
            total += write_shard(source, shard, changes, &staging)?;
        }
        for Companion { name, .. } in others {
            if name != Path::new(CONFIG) && name != Path::new(INDEX) {
                staging.copy(&source.dir().join(&name), &name)?;
            }
        }
        staging.write(CONFIG, &pretty(changes.config))?;
        if source.is_sharded() {
            let path = source.dir().join(INDEX);
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let mut index = crate::json::from_slice(&bytes).map_err(|problem| fault(source, problem))?;
            index["metadata"]["total_size"] = json!(total);
            let map = index["weight_map"].as_object().cloned().unwrap_or_default();
            let stays = map.into_iter().filter_map(|(name, file)| Some(((changes.name)(&name)?, file)));
            index["weight_map"] = stays.collect::<Map<_, _>>().into();
            staging.write(INDEX, &pretty(&index))?;
        }
        staging.sync()?;
        Ok(Self(staging))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.0.directory()
    }

    /// Adds a file of this plain name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.write(name, bytes)
    }

    /// Gives it its name, in one step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn publish(self) -> Result<()> {
        self.0.commit()
    }
}

fn pretty(json: &Value) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}

fn fault(source: &Checkpoint, problem: String) -> Error {
    Error::Checkpoint { path: source.dir().into(), problem, hint: None }
}

/// Writes a file of the copy; returns the bytes of its tensors.
fn write_shard(source: &Checkpoint, shard: usize, changes: &Changes, staging: &Staging) -> Result<usize> {
    let (info, read) = (&source.shards()[shard], &source.shards[shard]);
    let stays = |tensor: &&HeaderTensor| (changes.name)(&tensor.name).is_some();
    if !info.header.tensors.is_empty() && !info.header.tensors.iter().any(|tensor| stays(&tensor)) {
        return Ok(0);
    }
    let (mut header, mut end) = (Map::new(), 0);
    if !info.header.metadata.is_empty() {
        header.insert("__metadata__".into(), json!(info.header.metadata));
    }
    for tensor in info.header.tensors.iter().filter(stays) {
        let (mut shape, mut size) = (tensor.shape.clone(), tensor.bytes.len());
        if let Some(cut) = changes.cuts.get(&tensor.name) {
            check(source, tensor, cut)?;
            size = size / shape[cut.axis] * cut.keep.len();
            shape[cut.axis] = cut.keep.len();
        }
        let entry = json!({"dtype": format!("{:?}", tensor.dtype), "shape": shape, "data_offsets": [end, end + size]});
        header.extend((changes.name)(&tensor.name).map(|name| (name, entry)));
        end += size;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    let path = staging.path(&info.file);
    let mut file = create_sized(&path, (ALIGNMENT + text.len() + end) as u64)?;
    let failed = |error| Error::io("write", &path)(error);
    let begun = file.write_all(&(text.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&text));
    begun.map_err(failed)?;
    for tensor in info.header.tensors.iter().filter(stays) {
        let Some(cut) = changes.cuts.get(&tensor.name) else {
            read.pieces(tensor.bytes.clone(), |_, bytes| file.write_all(bytes).map_err(failed))?;
            continue;
        };
        let mut whole = vec![0; tensor.bytes.len()];
        read.read(tensor.bytes.start, &mut whole)?;
        file.write_all(&gathered(&whole, tensor, cut)).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    Ok(end)
}

fn check(source: &Checkpoint, tensor: &HeaderTensor, cut: &Cut) -> Result<()> {
    let size = tensor.shape.get(cut.axis).copied().unwrap_or(0);
    if !cut.keep.is_empty() && cut.keep.iter().all(|&place| place < size) {
        return Ok(());
    }
    let problem =
        format!("tensor `{}` of shape {:?} cannot be cut along dimension {}", tensor.name, tensor.shape, cut.axis);
    Err(fault(source, problem))
}

/// The bytes of what stays.
fn gathered(whole: &[u8], tensor: &HeaderTensor, cut: &Cut) -> Vec<u8> {
    let size = tensor.shape[cut.axis];
    let rows: usize = tensor.shape[..cut.axis].iter().product();
    // of one place along the dimension
    let unit = whole.len() / (rows * size).max(1);
    let mut kept = Vec::with_capacity(rows * cut.keep.len() * unit);
    for row in whole.chunks_exact((size * unit).max(1)) {
        cut.keep.iter().for_each(|&place| kept.extend_from_slice(&row[place * unit..][..unit]));
    }
    kept
}
