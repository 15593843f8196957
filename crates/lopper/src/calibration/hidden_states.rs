//! Hidden states of the calibration sequences at one depth of the model, in a compact dtype.

use std::sync::Arc;

use lopper_kernels::zeros;
use rayon::prelude::*;

use super::storage::{Storage, Stored};
use crate::checkpoint::StorageDtype;
use crate::error::Result;
use crate::model::{Decoder, Sequences};
use crate::tensor::Tensor;

/// Batches of a forward pass that run side by side.
pub(crate) const AT_ONCE: usize = 2;

/// How hidden states are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HiddenDtype {
    /// 4 bytes per number.
    F32,
    /// 2 bytes per number, 8 bits of precision.
    Bf16,
}

impl HiddenDtype {
    /// Bytes per number.
    pub fn bytes(self) -> u64 {
        self.storage().size() as u64
    }

    fn storage(self) -> StorageDtype {
        match self {
            Self::F32 => StorageDtype::F32,
            Self::Bf16 => StorageDtype::BF16,
        }
    }
}

/// Hidden states of every sequence, each [tokens, hidden]. Clones share what is the same.
#[derive(Clone)]
pub struct HiddenStates {
    pub(super) hidden: usize,
    pub(super) dtype: HiddenDtype,
    pub(super) storage: Storage,
    pub(super) sequences: Vec<Stored>,
}

impl HiddenStates {
    /// The embeddings of token sequences: the states before the first block.
    ///
    /// # Errors
    /// If an id is beyond the vocabulary, or the disk fails.
    pub fn embed(decoder: &Decoder, sequences: &[Vec<u32>], dtype: HiddenDtype, storage: &Storage) -> Result<Self> {
        let hidden = decoder.spec().hidden;
        let mut states = Self { hidden, dtype, storage: storage.clone(), sequences: Vec::new() };
        for ids in sequences {
            let positions: Vec<u32> = (0..ids.len() as u32).collect();
            let embedded = decoder.embed(ids, &positions)?;
            states.sequences.push(states.store(embedded.host())?);
        }
        Ok(states)
    }

    /// As many sequences of as many tokens, to be filled with rows of another width.
    #[must_use]
    pub fn with_width(&self, width: usize) -> Self {
        let sequences = vec![Stored::Memory(Arc::default()); self.len()];
        Self { hidden: width, sequences, ..self.clone() }
    }

    /// Where they are kept.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The sequences with these indices, one after the other: [tokens, hidden] f32.
    ///
    /// # Errors
    /// If memory is short, or the disk fails.
    pub fn batch(&self, indices: &[usize]) -> Result<(Tensor, Sequences)> {
        let lengths = indices.iter().map(|&i| self.tokens(i));
        let layout = Sequences::new(lengths);
        let mut data = zeros(layout.tokens() * self.hidden);
        for (range, &i) in layout.ranges().zip(indices) {
            let out = &mut data[range.start * self.hidden..range.end * self.hidden];
            self.sequences[i].with(|bytes| self.dtype.storage().decode(bytes, out))?;
        }
        Ok((Tensor::new([layout.tokens(), self.hidden], data), layout))
    }

    /// Replaces the sequences with these indices by the rows of `states`.
    ///
    /// # Errors
    /// If the rows are not as many as the sequences have, or the disk fails.
    pub fn set(&mut self, indices: &[usize], layout: &Sequences, states: &Tensor) -> Result<()> {
        for (range, &i) in layout.ranges().zip(indices) {
            self.sequences[i] = self.store(&states.host()[range.start * self.hidden..range.end * self.hidden])?;
        }
        Ok(())
    }

    /// Runs `f` on the first `count` sequences, `batch` at a time, and hands what it gives to `take`, in order. Batches run two at a
    /// time, so that one that computes never waits for another.
    ///
    /// # Errors
    /// Those of `f` and `take`.
    pub fn for_each<R: Send>(
        &self,
        count: usize,
        batch: usize,
        f: impl Fn(&Tensor, &Sequences) -> Result<R> + Sync,
        mut take: impl FnMut(&[usize], &Sequences, R) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<Vec<usize>> = batches(count, batch).collect();
        for group in all.chunks(AT_ONCE) {
            for (indices, result) in group.iter().zip(self.run(group, &f)) {
                let (layout, result) = result?;
                take(indices, &layout, result)?;
            }
        }
        Ok(())
    }

    /// The same of all sequences, each of which becomes what `f` makes of it.
    ///
    /// # Errors
    /// Those of `f` and `take`.
    pub fn advance<R: Send>(
        &mut self,
        batch: usize,
        f: impl Fn(&Tensor, &Sequences) -> Result<(Tensor, R)> + Sync,
        mut take: impl FnMut(&[usize], &Sequences, R) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<Vec<usize>> = batches(self.len(), batch).collect();
        for group in all.chunks(AT_ONCE) {
            for (indices, result) in group.iter().zip(self.run(group, &f)) {
                let (layout, (states, result)) = result?;
                self.set(indices, &layout, &states)?;
                take(indices, &layout, result)?;
            }
        }
        Ok(())
    }

    /// `f` of each of a few batches, side by side.
    fn run<R: Send>(
        &self,
        group: &[Vec<usize>],
        f: &(impl Fn(&Tensor, &Sequences) -> Result<R> + Sync),
    ) -> Vec<Result<(Sequences, R)>> {
        let one = |indices: &Vec<usize>| {
            let (states, layout) = self.batch(indices)?;
            let result = f(&states, &layout)?;
            Ok((layout, result))
        };
        group.par_iter().map(one).collect()
    }

    /// Tokens of a sequence.
    pub(super) fn tokens(&self, index: usize) -> usize {
        self.sequences[index].len() / (self.hidden * self.dtype.storage().size())
    }

    fn store(&self, states: &[f32]) -> Result<Stored> {
        let storage = self.dtype.storage();
        let mut bytes = vec![0; states.len() * storage.size()];
        storage.encode(states, &mut bytes);
        Stored::new(bytes, &self.storage)
    }
}

/// Consecutive groups of at most `size` indices below `count`.
pub fn batches(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..count).step_by(size).map(move |start| (start..(start + size).min(count)).collect())
}
