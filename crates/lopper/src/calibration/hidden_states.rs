//! Hidden states of the calibration sequences at one depth of the model, in a compact dtype.

use candle_core::{Device, Tensor};
use lopper_kernels::{bf16_to_f32, copied, f32_to_bf16, zeros};
use rayon::prelude::*;

use crate::autograd::read;
use crate::error::Result;
use crate::model::{Decoder, Sequences};

/// Batches of a forward pass that run side by side.
pub(crate) const AT_ONCE: usize = 2;
/// Elements that a thread copies at a time.
const COPIED: usize = 64 * 1024;

/// How hidden states are held in memory.
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
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

#[derive(Clone)]
pub(super) enum Stored {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

/// Hidden states of every sequence, each [tokens, hidden].
#[derive(Clone)]
pub struct HiddenStates {
    pub(super) hidden: usize,
    pub(super) dtype: HiddenDtype,
    pub(super) device: Device,
    pub(super) sequences: Vec<Stored>,
}

impl HiddenStates {
    /// The embeddings of token sequences: the states before the first block.
    ///
    /// # Errors
    /// If an id is beyond the vocabulary.
    pub fn embed(decoder: &Decoder, sequences: &[Vec<u32>], dtype: HiddenDtype) -> Result<Self> {
        let mut states =
            Self { hidden: decoder.spec().hidden, dtype, device: decoder.device().clone(), sequences: Vec::new() };
        for ids in sequences {
            let stored = states.store(&decoder.embed(ids)?)?;
            states.sequences.push(stored);
        }
        decoder.release_embedding();
        Ok(states)
    }

    /// As many sequences of as many tokens, to be filled with rows of another width.
    #[must_use]
    pub fn with_width(&self, width: usize) -> Self {
        let empty = || match self.dtype {
            HiddenDtype::F32 => Stored::F32(Vec::new()),
            HiddenDtype::Bf16 => Stored::Bf16(Vec::new()),
        };
        let sequences = self.sequences.iter().map(|_| empty()).collect();
        Self { hidden: width, dtype: self.dtype, device: self.device.clone(), sequences }
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
    /// If memory is short.
    pub fn batch(&self, indices: &[usize]) -> Result<(Tensor, Sequences)> {
        let lengths = indices.iter().map(|&i| self.sequences[i].len() / self.hidden);
        let layout = Sequences::new(lengths);
        let mut data = zeros(layout.tokens() * self.hidden);
        for (range, &i) in layout.ranges().zip(indices) {
            self.sequences[i].load(&mut data[range.start * self.hidden..range.end * self.hidden]);
        }
        Ok((Tensor::from_vec(data, (layout.tokens(), self.hidden), &Device::Cpu)?.to_device(&self.device)?, layout))
    }

    /// Replaces the sequences with these indices by the rows of `states`.
    ///
    /// # Errors
    /// If the rows are not as many as the sequences have.
    pub fn set(&mut self, indices: &[usize], layout: &Sequences, states: &Tensor) -> Result<()> {
        for (range, &i) in layout.ranges().zip(indices) {
            self.sequences[i] = self.store(&states.narrow(0, range.start, range.len())?)?;
        }
        Ok(())
    }

    /// Runs `f` on every batch of `batch` sequences, and hands what it gives to `take`, in order. Batches run two at a time,
    /// so that one that computes never waits for another.
    ///
    /// # Errors
    /// Those of `f` and `take`.
    pub fn for_each<R: Send>(
        &self,
        batch: usize,
        f: impl Fn(&Tensor, &Sequences) -> Result<R> + Sync,
        mut take: impl FnMut(&[usize], &Sequences, R) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<Vec<usize>> = batches(self.len(), batch).collect();
        for group in all.chunks(AT_ONCE) {
            for (indices, result) in group.iter().zip(self.run(group, &f)) {
                let (layout, result) = result?;
                take(indices, &layout, result)?;
            }
        }
        Ok(())
    }

    /// The same, and every sequence becomes what `f` makes of it.
    ///
    /// # Errors
    /// Those of `f` and `take`.
    pub fn advance<R: Send>(
        &mut self,
        batch: usize,
        f: impl Fn(&Tensor, &Sequences) -> Result<(Tensor, R)> + Sync,
        mut take: impl FnMut(&Sequences, R) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<Vec<usize>> = batches(self.len(), batch).collect();
        for group in all.chunks(AT_ONCE) {
            for (indices, result) in group.iter().zip(self.run(group, &f)) {
                let (layout, (states, result)) = result?;
                self.set(indices, &layout, &states)?;
                take(&layout, result)?;
            }
        }
        Ok(())
    }

    /// `f` of each of a few batches, side by side on a CPU.
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
        if self.device.is_cpu() { group.par_iter().map(one).collect() } else { group.iter().map(one).collect() }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.sequences.iter().map(Stored::bytes).sum()
    }

    fn store(&self, states: &Tensor) -> Result<Stored> {
        let states = states.to_device(&Device::Cpu)?.contiguous()?;
        Ok(read([&states], |[states]| match self.dtype {
            HiddenDtype::F32 => Stored::F32(copied(states)),
            HiddenDtype::Bf16 => {
                let mut half = vec![0; states.len()];
                f32_to_bf16(states, &mut half);
                Stored::Bf16(half)
            }
        })?)
    }
}

impl Stored {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F32(data) => 4 * data.len(),
            Self::Bf16(data) => 2 * data.len(),
        }
    }

    fn load(&self, out: &mut [f32]) {
        match self {
            Self::F32(data) => {
                out.par_chunks_mut(COPIED)
                    .zip(data.par_chunks(COPIED))
                    .for_each(|(out, data)| out.copy_from_slice(data));
            }
            Self::Bf16(data) => bf16_to_f32(data, out),
        }
    }
}

/// Consecutive groups of at most `size` indices below `count`.
pub fn batches(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..count).step_by(size).map(move |start| (start..(start + size).min(count)).collect())
}
