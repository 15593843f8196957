//! What of a window is in training: its tensors as variables of an optimiser, adapters beside its weights.

use candle_core::{Result, Tensor, Var};

use super::Settings;
use super::adapter::Adapter;
use super::window::{Kind, Place, Window};
use crate::autograd::Tape;
use crate::autograd::optimizer::Optimizer;

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
        let size = root_mean_square(tensor)?;
        let size = if size > 0.0 { size } else { 1e-2 };
        let trains = match kind {
            Kind::Weight => parameters.weights,
            Kind::Bias => parameters.biases,
            Kind::Norm => parameters.norms,
        };
        if trains {
            let variable = Var::from_tensor(&tensor.copy()?)?;
            *tensor = variable.as_tensor().clone();
            self.optimizer.add(&variable, mask.cloned(), size)?;
        }
        if let (Some(kind), Some(mask), Kind::Weight) = (parameters.adapter, mask, kind) {
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
    pub fn save(&self) -> Result<Vec<Tensor>> {
        self.optimizer.tensors().map(Tensor::copy).collect()
    }

    /// Puts a copy back.
    pub fn load(&self, saved: &[Tensor]) -> Result<()> {
        self.optimizer.variables().zip(saved).try_for_each(|(variable, saved)| variable.set(saved))
    }

    /// Puts the adapted weights into the window.
    pub fn merge(self, window: &mut Window) -> Result<()> {
        for (segment, adapters) in window.segments.iter_mut().zip(self.adapters) {
            for place in segment.places() {
                if let Some(adapter) = adapters.iter().find(|adapter| adapter.weight.id() == place.tensor.id()) {
                    *place.tensor = adapter.merged()?;
                }
            }
        }
        Ok(())
    }
}

/// Of the non-zero entries.
fn root_mean_square(tensor: &Tensor) -> Result<f32> {
    let tensor = tensor.flatten_all()?.to_device(&candle_core::Device::Cpu)?;
    let data = tensor.to_vec1::<f32>()?;
    let (sum, count) = data
        .iter()
        .filter(|&&w| w != 0.0)
        .fold((0.0, 0usize), |(sum, count), &w| (sum + f64::from(w) * f64::from(w), count + 1));
    Ok((sum / count.max(1) as f64).sqrt() as f32)
}
