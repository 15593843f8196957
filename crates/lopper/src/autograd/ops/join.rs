//! Columns of several activations, one after the other, with zeros between: keys of which every head shares a part, values as wide as keys.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// A part of what is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These columns of one of the inputs.
    Of(usize, Range<usize>),
    /// So many zeros.
    Zeros(usize),
}

impl Part {
    /// How many columns it is.
    pub fn width(&self) -> usize {
        match self {
            Self::Of(_, columns) => columns.len(),
            Self::Zeros(count) => *count,
        }
    }
}

impl Tape {
    /// These columns of x [tokens, d], one range after the other: what one of several fused projections gave. Where each head has its own
    /// part of every projection (GPT-NeoX), they lie apart.
    ///
    /// # Errors
    /// If they are not all there.
    pub fn columns(&mut self, x: &Value, columns: &[Range<usize>]) -> Result<Value> {
        self.join(&[x], &columns.iter().map(|columns| Part::Of(0, columns.clone())).collect())
    }

    /// Parts of the inputs, each [tokens, ·] → [tokens, their width].
    ///
    /// # Errors
    /// If they are not all there.
    pub fn join(&mut self, inputs: &[&Value], parts: &Arc<[Part]>) -> Result<Value> {
        let tensors: Vec<Tensor> = inputs.iter().map(|input| input.tensor().clone()).collect();
        let rows = tensors.first().map_or(0, |tensor| tensor.shape()[0]);
        let is_there = |part: &Part| match part {
            Part::Of(which, columns) => tensors.get(*which).is_some_and(|tensor| columns.end <= tensor.width()),
            Part::Zeros(_) => true,
        };
        if !parts.iter().all(is_there) || tensors.iter().any(|tensor| tensor.shape()[0] != rows) {
            let shapes: Vec<&[usize]> = tensors.iter().map(Tensor::shape).collect();
            return Err(misfit(format!("{parts:?} of {shapes:?}")));
        }
        let width = parts.iter().map(Part::width).sum::<usize>();
        let y = Tensor::filled([rows, width], |y| {
            y.par_chunks_mut(width).enumerate().for_each(|(row, mut y)| {
                for part in &**parts {
                    let (here, rest) = y.split_at_mut(part.width());
                    match part {
                        Part::Of(which, columns) => {
                            let wide = tensors[*which].width();
                            here.copy_from_slice(&tensors[*which].host()[row * wide..][columns.clone()]);
                        }
                        Part::Zeros(_) => here.fill(0.0),
                    }
                    y = rest;
                }
            });
        });
        let (parts, wide) = (parts.clone(), tensors.iter().map(Tensor::width).collect::<Vec<_>>());
        Ok(self.record(y, inputs, move |dy, inputs| {
            for (input, &wide) in wide.iter().enumerate() {
                inputs.with(input, |dx, accumulate| {
                    dx.par_chunks_mut(wide).zip(dy.host().par_chunks(width)).for_each(|(dx, mut dy)| {
                        if !accumulate {
                            dx.fill(0.0);
                        }
                        for part in &*parts {
                            let (here, rest) = dy.split_at(part.width());
                            if let Part::Of(which, columns) = part
                                && *which == input
                            {
                                dx[columns.clone()].iter_mut().zip(here).for_each(|(dx, dy)| *dx += dy);
                            }
                            dy = rest;
                        }
                    });
                });
            }
        }))
    }
}
