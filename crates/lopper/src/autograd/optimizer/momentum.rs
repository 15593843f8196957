//! Gradient descent with momentum (Polyak 1964), the gradient of each tensor scaled to one size as in LARS (You et al. 2017,
//! arXiv 1708.03888): `v ← μv + (1 − μ)·g / rms(g)`, `w ← w − η·(v + λw)`, μ = 0.9, the mean over what the mask keeps.
//!
//! Without the scaling a rate would have to be found for every layer of every model.

use rayon::prelude::*;

use super::{CHUNK, Rule, Update, kept_squares};
use crate::tensor::Tensor;

const MOMENTUM: f32 = 0.9;

/// The running mean of a tensor's scaled gradients.
pub(super) struct Velocity(Vec<f32>);

impl Velocity {
    pub(super) fn new(tensor: &Tensor) -> Self {
        Self(vec![0.0; tensor.len()])
    }
}

impl Rule for Velocity {
    fn update(&mut self, Update { weight, gradient, mask, rate, weight_decay: decay, .. }: Update) {
        let (squares, count) = kept_squares(gradient, mask);
        let size = (squares / count.max(1) as f64).sqrt();
        // nothing to go by: not even the direction
        let factor = if size > 0.0 { ((1.0 - f64::from(MOMENTUM)) / size) as f32 } else { 0.0 };
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
    }
}
