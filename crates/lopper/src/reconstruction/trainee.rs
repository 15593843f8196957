//! What of a window is in training: its tensors in the hands of an optimiser, adapters beside its weights.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Settings;
use super::adapter::Adapter;
use super::window::{Place, Window};
use crate::autograd::optimizer::Optimizer;
use crate::autograd::{Tape, Value};
use crate::calibration::{Parked, Storage};
use crate::error::Result;
use crate::model::{Block, Kind};
use crate::tensor::Tensor;

/// Entries that a thread squares at a time.
const PIECE: usize = 64 * 1024;

/// What is in training. Each tensor is a leaf under its key in the optimiser.
pub(super) struct Trainee {
    pub optimizer: Optimizer,
    segments: Vec<InTraining>,
    settings: Settings,
}

/// What trains in a segment.
#[derive(Default)]
struct InTraining {
    /// Keys by place among the tensors of the block.
    keys: BTreeMap<usize, usize>,
    adapters: Vec<Adapter>,
}

impl Trainee {
    /// Nothing: the window is used as it is.
    pub fn none(window: &Window, settings: &Settings) -> Self {
        let optimizer = Optimizer::new(settings.optimizer, settings.weight_decay);
        let segments = window.segments.iter().map(|_| InTraining::default()).collect();
        Self { optimizer, segments, settings: *settings }
    }

    /// Takes what trains out of the window. The learning rate of each tensor is relative to the root mean square of its non-zero
    /// entries, so that one rate fits layers of any scale.
    pub fn new(window: &mut Window, settings: &Settings) -> Result<Self> {
        let mut trainee = Self::none(window, settings);
        for (index, segment) in window.segments.iter_mut().enumerate() {
            for place in segment.places() {
                trainee.add(index, segment.block, &place)?;
            }
        }
        Ok(trainee)
    }

    fn add(&mut self, segment: usize, block: &mut Block, place: &Place) -> Result<()> {
        let parameters = self.settings.parameters;
        let &Place { tensor, kind, mask } = place;
        let trains = parameters.train(kind);
        let adapter = parameters.adapter.filter(|_| kind == Kind::Weight).zip(mask);
        if !trains && adapter.is_none() {
            return Ok(());
        }
        let size = root_mean_square(&block.tensors[tensor]);
        let size = if size > 0.0 { size } else { 1e-2 };
        let held = &mut self.segments[segment];
        if trains {
            let taken = std::mem::replace(&mut block.tensors[tensor], Tensor::zeros([0]));
            held.keys.insert(tensor, self.optimizer.add(taken, mask.cloned(), size));
        }
        if let Some((kind, mask)) = adapter {
            let settings =
                Settings { seed: self.settings.seed.wrapping_add(1 + self.optimizer.len() as u64), ..self.settings };
            let key = held.keys.get(&tensor);
            let weight = key.map_or(&block.tensors[tensor], |&key| self.optimizer.tensor(key)).clone();
            held.adapters.push(Adapter::new(tensor, &weight, mask, size, kind, &settings, &mut self.optimizer)?);
        }
        Ok(())
    }

    /// The tensors of a block as they are in training, adapters aside; leaves of `tape` if it `records`.
    fn plain(&self, segment: usize, block: &Block, tape: &mut Tape, records: bool) -> Vec<Value> {
        let mut values = block.constants();
        for (&place, &key) in &self.segments[segment].keys {
            let tensor = self.optimizer.tensor(key);
            values[place] = if records { tape.leaf(key, tensor) } else { tensor.into() };
        }
        values
    }

    /// A tape and the tensors of a segment's block as they train; leaves if the tape `records`.
    pub fn training(&self, segment: usize, block: &Block, records: bool) -> Result<(Tape, Vec<Value>)> {
        let mut tape = Tape::new(self.settings.precision);
        let mut values = self.plain(segment, block, &mut tape, records);
        for adapter in &self.segments[segment].adapters {
            values[adapter.tensor] = adapter.adapted(&values[adapter.tensor], &self.optimizer, &mut tape, records)?;
        }
        Ok((tape, values))
    }

    /// A tape and the tensors of a segment's block as they will be merged.
    pub fn inference(&self, segment: usize, block: &Block) -> Result<(Tape, Vec<Value>)> {
        let mut tape = Tape::new(self.settings.precision);
        let mut values = self.plain(segment, block, &mut tape, false);
        for adapter in &self.segments[segment].adapters {
            values[adapter.tensor] = adapter.merged(values[adapter.tensor].tensor(), &self.optimizer)?.into();
        }
        Ok((tape, values))
    }

    /// Everything in training as it is; what is in memory is copied when training moves on.
    pub fn save(&self, storage: &Storage) -> Result<Parked> {
        Parked::new(self.optimizer.tensors().cloned().collect(), storage)
    }

    /// Puts that back.
    pub fn load(&mut self, saved: &Parked) -> Result<()> {
        for (tensor, saved) in self.optimizer.tensors_mut().zip(saved.tensors()) {
            *tensor = saved?;
        }
        Ok(())
    }

    /// Gives the window its tensors back, adapters merged.
    pub fn merge(self, window: &mut Window) -> Result<()> {
        for (segment, held) in window.segments.iter_mut().zip(&self.segments) {
            for (&place, &key) in &held.keys {
                segment.block.tensors[place] = self.optimizer.tensor(key).clone();
            }
            for adapter in &held.adapters {
                let weight = &mut segment.block.tensors[adapter.tensor];
                *weight = adapter.merged(weight, &self.optimizer)?;
            }
        }
        Ok(())
    }
}

/// Of the non-zero entries.
fn root_mean_square(tensor: &Tensor) -> f32 {
    let of = |piece: &[f32]| {
        let (mut sum, mut count) = (0.0, 0);
        for &w in piece {
            (sum, count) = (sum + f64::from(w) * f64::from(w), count + usize::from(w != 0.0));
        }
        (sum, count)
    };
    // added in order: the same for any number of threads
    let pieces: Vec<(f64, usize)> = tensor.host().par_chunks(PIECE).map(of).collect();
    let (sum, count) = pieces.into_iter().fold((0.0, 0), |(sum, count), piece| (sum + piece.0, count + piece.1));
    (sum / count.max(1) as f64).sqrt() as f32
}
