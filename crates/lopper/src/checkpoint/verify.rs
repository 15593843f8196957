//! The proof that a rewrite changed what it was told to change and nothing else.

use std::collections::BTreeSet;

use super::open::Checkpoint;
use crate::{Error, Result};

impl Checkpoint {
    /// Whether two tensors hold the same bytes.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when one is not there; [`Error::Io`] when it cannot be read.
    pub fn are_equal(&self, one: &str, other: &str) -> Result<bool> {
        let (one, other) = (self.require(one)?, self.require(other)?);
        let (mut equal, mut read) = ((one.dtype, &one.shape) == (other.dtype, &other.shape), Vec::new());
        if equal {
            self.shards[one.shard].pieces(one.bytes.clone(), |offset, bytes| {
                read.resize(bytes.len(), 0);
                if equal {
                    self.shards[other.shard].read(other.bytes.start + offset, &mut read)?;
                    equal = read == bytes;
                }
                Ok(())
            })?;
        }
        Ok(equal)
    }
}

/// Compares two checkpoints: same tensors, dtypes and shapes, and equal bytes for all but the `replaced`.
///
/// # Errors
/// [`Error::Checkpoint`] naming the first tensor that differs; [`Error::Io`] when one cannot be read.
pub fn verify_untouched(source: &Checkpoint, out: &Checkpoint, replaced: &BTreeSet<String>) -> Result<()> {
    let fault = |problem| Error::Checkpoint {
        path: out.dir().to_owned(),
        problem,
        hint: Some("the output or the input changed while it was written; run again".into()),
    };
    if let Some(extra) = out.names().find(|name| source.info(name).is_none()) {
        return Err(fault(format!("tensor `{extra}` is not in the input")));
    }
    for name in source.names() {
        let before = source.require(name)?;
        let after = out.require(name)?;
        if (before.dtype, &before.shape) != (after.dtype, &after.shape) {
            let problem = format!(
                "tensor `{name}` was {:?} {:?} and is {:?} {:?}",
                before.dtype, before.shape, after.dtype, after.shape
            );
            return Err(fault(problem));
        }
    }
    for (name, before) in source.everywhere() {
        if replaced.contains(name) && source.is_replaced_in(before.shard, name) {
            continue;
        }
        // copies lie where they lay: the headers are those of the source
        let after = out.require(name).ok().filter(|after| after.shard == before.shard).unwrap_or(before);
        let mut written = Vec::new();
        source.shards[before.shard].pieces(before.bytes.clone(), |offset, bytes| {
            written.resize(bytes.len(), 0);
            out.shards[after.shard].read(after.bytes.start + offset, &mut written)?;
            if written == bytes {
                return Ok(());
            }
            Err(fault(format!("tensor `{name}` was not to be touched and differs from the input")))
        })?;
    }
    Ok(())
}
