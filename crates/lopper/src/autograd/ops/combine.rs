//! What the experts of each token gave, weighted and added.

use std::sync::Arc;

use rayon::prelude::*;

use super::route::Routes;
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

impl Tape {
    /// Weights [tokens, `top_k`], and of every expert its output of the tokens that reach it, each [tokens, d] → [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit the routes.
    pub fn combine(&mut self, routes: &Arc<Routes>, weights: &Value, outputs: &[&Value]) -> Result<Value> {
        let (tokens, top_k) = (routes.tokens(), routes.top_k());
        let width = outputs.first().map_or(0, |output| output.tensor().width());
        let fits =
            |(expert, output): (usize, &&Value)| output.tensor().shape() == [routes.reaching(expert).len(), width];
        let is_of = weights.tensor().shape() == [tokens, top_k] && outputs.len() == routes.experts();
        if !is_of || width == 0 || !outputs.iter().enumerate().all(fits) {
            let shapes: Vec<_> = outputs.iter().map(|output| output.tensor().shape().to_vec()).collect();
            return Err(misfit(format!("outputs of experts {shapes:?} weighted by {:?}", weights.tensor().shape())));
        }
        let factors = weights.tensor().clone();
        let saved: Vec<Tensor> = outputs.iter().map(|output| output.tensor().clone()).collect();
        let y = Tensor::filled([tokens, width], |y| {
            y.par_chunks_mut(width).zip(factors.host().par_chunks(top_k)).enumerate().for_each(
                |(token, (y, factors))| {
                    y.fill(0.0);
                    for ((expert, row), &factor) in routes.rows(token).zip(factors) {
                        let output = &saved[expert].host()[row * width..][..width];
                        y.iter_mut().zip(output).for_each(|(y, x)| *y += factor * x);
                    }
                },
            );
        });
        let inputs: Vec<&Value> = [weights].into_iter().chain(outputs.iter().copied()).collect();
        let routes = routes.clone();
        Ok(self.record(y, &inputs, move |dy, inputs| {
            inputs.with(0, |d_factors, accumulate| {
                d_factors.par_chunks_mut(top_k).zip(dy.host().par_chunks(width)).enumerate().for_each(
                    |(token, (d_factors, dy))| {
                        for ((expert, row), d_factor) in routes.rows(token).zip(d_factors) {
                            let output = &saved[expert].host()[row * width..][..width];
                            let along: f32 = output.iter().zip(dy).map(|(x, dy)| x * dy).sum();
                            *d_factor = if accumulate { *d_factor + along } else { along };
                        }
                    },
                );
            });
            let of_expert = |(expert, output): (usize, &Tensor)| {
                Tensor::filled(output.shape(), |gradient| {
                    for (gradient, &token) in gradient.chunks_mut(width).zip(&**routes.reaching(expert)) {
                        let token = token as usize;
                        let factor = routes.of(token).iter().position(|&chosen| chosen as usize == expert);
                        let factor = factor.map_or(0.0, |place| factors.host()[token * top_k + place]);
                        let dy = &dy.host()[token * width..][..width];
                        gradient.iter_mut().zip(dy).for_each(|(gradient, dy)| *gradient = factor * dy);
                    }
                })
            };
            let gradients: Vec<Tensor> = saved.par_iter().enumerate().map(of_expert).collect();
            gradients.into_iter().enumerate().for_each(|(expert, gradient)| inputs.give(1 + expert, gradient));
        }))
    }
}
