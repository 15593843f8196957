//! Gradient descent with momentum (Polyak 1964), the gradient of each tensor scaled to one size as in LARS (You et al. 2017,
//! arXiv 1708.03888): `v ← μv + (1 − μ)·g / rms(g)`, `w ← w − η·(v + λw)`, μ = 0.9, the mean over what the mask keeps.
//!
//! Without the scaling a rate would have to be found for every layer of every model.

use candle_core::{Result, Var};
use rayon::prelude::*;

use super::{CHUNK, Rule, Update, kept_squares, on_slices};
use crate::sparsity::Mask;

const MOMENTUM: f32 = 0.9;

/// The running mean of a tensor's scaled gradients.
pub(super) struct Velocity(Vec<f32>);

impl Velocity {
    pub(super) fn new(variable: &Var) -> Self {
        Self(vec![0.0; variable.elem_count()])
    }
}

impl Rule for Velocity {
    fn update(&mut self, update: &Update) -> Result<()> {
        let mask = update.mask.map(Mask::as_slice);
        on_slices(update, |weight, gradient| {
            let (squares, count) = kept_squares(gradient, mask);
            let size = (squares / count.max(1) as f64).sqrt();
            // nothing to go by: not even the direction
            let factor = if size > 0.0 { ((1.0 - f64::from(MOMENTUM)) / size) as f32 } else { 0.0 };
            let (rate, decay) = (update.rate, update.weight_decay);
            let state = weight.par_chunks_mut(CHUNK).zip(self.0.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK));
            state.enumerate().for_each(|(chunk, ((weight, velocity), gradient))| {
                let mask = mask.map(|mask| &mask[chunk * CHUNK..]);
                for (place, ((w, v), g)) in weight.iter_mut().zip(velocity).zip(gradient).enumerate() {
                    if mask.is_none_or(|mask| mask[place] != 0) {
                        *v = MOMENTUM * *v + factor * g;
                        *w -= rate * (*v + decay * *w);
                    }
                }
            });
        })
    }
}
