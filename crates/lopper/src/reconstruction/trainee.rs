//! What of a window is in training: its tensors as variables of an optimiser, adapters beside its weights.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::Settings;
use super::adapter::Adapter;
use super::window::{Kind, Place, Window};
use crate::autograd::optimizer::Optimizer;
use crate::autograd::{Tape, read};
use crate::calibration::{Parked, Storage};
use crate::error;

/// Entries that a thread squares at a time.
const PIECE: usize = 64 * 1024;

/// What is in training.
pub(super) struct Trainee {
    pub optimizer: Optimizer,
    /// By segment.
    adapters: Vec<Vec<Adapter>>,
    settings: Settings,
}

impl Trainee {
    /// Nothing: the window is used as it is.
    pub fn none(window: &Window, settings: &Settings) -> Self {
        let optimizer = Optimizer::new(settings.optimizer, settings.weight_decay);
        let adapters = window.segments.iter().map(|_| Vec::new()).collect();
        Self { optimizer, adapters, settings: *settings }
    }

    /// Replaces what trains by variables. The learning rate of each is relative to the root mean square of its non-zero entries,
    /// so that one rate fits layers of any scale.
    pub fn new(window: &mut Window, settings: &Settings) -> Result<Self> {
        let mut trainee = Self::none(window, settings);
        for (index, segment) in window.segments.iter_mut().enumerate() {
            for place in segment.places() {
                trainee.add(index, place)?;
            }
        }
        Ok(trainee)
    }

    fn add(&mut self, segment: usize, place: Place) -> Result<()> {
        let parameters = self.settings.parameters;
        let Place { tensor, kind, mask } = place;
        let trains = match kind {
            Kind::Weight => parameters.weights,
            Kind::Bias => parameters.biases,
            Kind::Norm => parameters.norms,
        };
        let adapter = parameters.adapter.filter(|_| kind == Kind::Weight).zip(mask);
        if !trains && adapter.is_none() {
            return Ok(());
        }
        let size = root_mean_square(tensor)?;
        let size = if size > 0.0 { size } else { 1e-2 };
        if trains {
            let variable = Var::from_tensor(&tensor.detach())?;
            *tensor = variable.as_tensor().clone();
            self.optimizer.add(&variable, mask.cloned(), size)?;
        }
        if let Some((kind, mask)) = adapter {
            let seed = self.settings.seed.wrapping_add(1 + self.optimizer.tensors().count() as u64);
            let adapter = Adapter::new(tensor, mask, size, kind, &Settings { seed, ..self.settings })?;
            for (variable, scale) in [&adapter.left, &adapter.right] {
                self.optimizer.add(variable, None, *scale)?;
            }
            self.adapters[segment].push(adapter);
        }
        Ok(())
    }

    /// A tape on which the segment runs as it trains; one that records only if `records`.
    pub fn tape(&self, segment: usize, records: bool) -> Result<Tape> {
        let precision = self.settings.precision;
        let mut tape =
            if records { Tape::new(precision, self.optimizer.tensors()) } else { Tape::inference(precision) };
        self.adapters[segment].iter().try_for_each(|adapter| adapter.bind(&mut tape))?;
        Ok(tape)
    }

    /// A tape on which the segment runs as it will be merged.
    pub fn inference(&self, segment: usize) -> Result<Tape> {
        let mut tape = Tape::inference(self.settings.precision);
        for adapter in &self.adapters[segment] {
            tape.bind(&adapter.weight, adapter.merged()?.into());
        }
        Ok(tape)
    }

    /// A copy of everything in training.
    pub fn save(&self, storage: &Storage) -> error::Result<Parked> {
        let copy = |tensor: &Tensor| if storage.is_memory() { tensor.copy() } else { Ok(tensor.clone()) };
        Parked::new(self.optimizer.tensors().map(copy).collect::<Result<_>>()?, storage)
    }

    /// Puts a copy back.
    pub fn load(&self, saved: &Parked) -> error::Result<()> {
        self.optimizer.variables().zip(saved.tensors()).try_for_each(|(variable, saved)| Ok(variable.set(&saved?)?))
    }

    /// Leaves plain tensors in the window, adapters merged.
    pub fn merge(self, window: &mut Window) -> Result<()> {
        for (segment, adapters) in window.segments.iter_mut().zip(self.adapters) {
            for place in segment.places() {
                let adapter = adapters.iter().find(|adapter| adapter.weight.id() == place.tensor.id());
                let trained = adapter.map(Adapter::merged).transpose()?;
                // candle would keep the graph of whatever is made of a variable
                *place.tensor = trained.unwrap_or_else(|| place.tensor.clone()).detach();
            }
        }
        Ok(())
    }
}

/// Of the non-zero entries.
fn root_mean_square(tensor: &Tensor) -> Result<f32> {
    let tensor = tensor.to_device(&candle_core::Device::Cpu)?.contiguous()?;
    let of = |piece: &[f32]| {
        let (mut sum, mut count) = (0.0, 0);
        for &w in piece {
            (sum, count) = (sum + f64::from(w) * f64::from(w), count + usize::from(w != 0.0));
        }
        (sum, count)
    };
    // added in order: the same for any number of threads
    let pieces: Vec<(f64, usize)> = read([&tensor], |[data]| data.par_chunks(PIECE).map(of).collect())?;
    let (sum, count) = pieces.into_iter().fold((0.0, 0), |(sum, count), piece| (sum + piece.0, count + piece.1));
    Ok((sum / count.max(1) as f64).sqrt() as f32)
}
