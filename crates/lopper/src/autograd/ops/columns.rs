//! Some columns of an activation: what one of several fused projections gave. Where each head has its own part of every
//! projection (GPT-NeoX), they lie apart.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Columns(Arc<[Range<usize>]>);

impl Columns {
    fn width(&self) -> usize {
        self.0.iter().map(Range::len).sum()
    }
}

impl Op<1> for Columns {
    type Saved = usize;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, usize)> {
        let ([rows, wide], narrow) = (x.matrix()?, self.width());
        if let Some(beyond) = self.0.iter().find(|range| range.end > wide) {
            return Err(misfit(format!("columns {beyond:?} of {:?}", x.shape())));
        }
        let y = Tensor::filled([rows, narrow], |y| {
            y.par_chunks_mut(narrow).zip(x.host().par_chunks(wide)).for_each(|(mut y, x)| {
                for range in &*self.0 {
                    let (here, rest) = y.split_at_mut(range.len());
                    here.copy_from_slice(&x[range.clone()]);
                    y = rest;
                }
            });
        });
        Ok((y, wide))
    }

    fn backward(self, wide: usize, dy: Tensor, inputs: &mut Inputs) {
        inputs.with(0, |dx, accumulate| {
            dx.par_chunks_mut(wide).zip(dy.host().par_chunks(self.width())).for_each(|(dx, mut dy)| {
                if !accumulate {
                    dx.fill(0.0);
                }
                for range in &*self.0 {
                    let (here, rest) = dy.split_at(range.len());
                    dx[range.clone()].iter_mut().zip(here).for_each(|(dx, dy)| *dx += dy);
                    dy = rest;
                }
            });
        });
    }
}

impl Tape {
    /// These columns of x [tokens, d], one range after the other.
    ///
    /// # Errors
    /// If they are not all there.
    pub fn columns(&mut self, x: &Value, columns: &Arc<[Range<usize>]>) -> Result<Value> {
        self.apply(Columns(columns.clone()), [x])
    }
}
