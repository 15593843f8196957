//! Entries scaled or bounded: by a factor, which may be a number that trains, within ± a bound, softly by `cap·tanh(x / cap)` (Gemma Team
//! 2024, arXiv 2408.00118, §2).

use lopper_kernels::{soft_cap, soft_cap_backward};
use rayon::prelude::*;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// Entries that a thread has at a time.
const PIECE: usize = 16 * 1024;

struct Scale(f32);

impl Scale {
    fn apply(&self, x: &mut [f32]) {
        x.par_chunks_mut(PIECE).for_each(|x| x.iter_mut().for_each(|x| *x *= self.0));
    }
}

impl Op<1> for Scale {
    type Saved = ();

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, ())> {
        let mut y = x.clone();
        self.apply(y.host_mut());
        Ok((y, ()))
    }

    fn backward(self, (): (), mut dy: Tensor, inputs: &mut Inputs) {
        self.apply(dy.host_mut());
        inputs.give(0, dy);
    }
}

/// By one number of the second input, which trains.
struct Times {
    factor: f32,
    which: usize,
}

impl Op<2> for Times {
    type Saved = Tensor;

    fn forward(&self, [x, _]: [&Tensor; 2]) -> Result<(Tensor, Tensor)> {
        let (y, ()) = Scale(self.factor).forward([x])?;
        Ok((y, x.clone()))
    }

    fn backward(self, x: Tensor, dy: Tensor, inputs: &mut Inputs) {
        inputs.with(1, |d_factors, accumulate| {
            if !accumulate {
                d_factors.fill(0.0);
            }
            let pieces = x.host().par_chunks(PIECE).zip(dy.host().par_chunks(PIECE));
            let along = |(x, dy): (&[f32], &[f32])| -> f64 {
                x.iter().zip(dy).map(|(x, dy)| f64::from(*x) * f64::from(*dy)).sum()
            };
            // in the same order for any number of threads
            d_factors[self.which] += pieces.map(along).collect::<Vec<_>>().into_iter().sum::<f64>() as f32;
        });
        Scale(self.factor).backward((), dy, inputs);
    }
}

struct Clamp(f32);

impl Op<1> for Clamp {
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let mut y = x.clone();
        let bound = |x: &mut f32| *x = x.clamp(-self.0, self.0);
        y.host_mut().par_chunks_mut(PIECE).for_each(|y| y.iter_mut().for_each(bound));
        Ok((y, x.clone()))
    }

    fn backward(self, x: Tensor, mut dy: Tensor, inputs: &mut Inputs) {
        dy.host_mut().par_chunks_mut(PIECE).zip(x.host().par_chunks(PIECE)).for_each(|(dy, x)| {
            for (dy, x) in dy.iter_mut().zip(x) {
                *dy = if x.abs() > self.0 { 0.0 } else { *dy };
            }
        });
        inputs.give(0, dy);
    }
}

struct SoftCap(f32);

impl Op<1> for SoftCap {
    /// The output.
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let mut y = x.clone();
        soft_cap(y.host_mut(), self.0);
        Ok((y.clone(), y))
    }

    fn backward(self, y: Tensor, mut dy: Tensor, inputs: &mut Inputs) {
        soft_cap_backward(y.host(), dy.host_mut(), self.0);
        inputs.give(0, dy);
    }
}

impl Tape {
    /// Every entry times `factor`.
    ///
    /// # Errors
    /// None so far.
    pub fn scale(&mut self, x: &Value, factor: f32) -> Result<Value> {
        self.apply(Scale(factor), [x])
    }

    /// Every entry times number `which` of `factors`.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn times(&mut self, x: &Value, factors: &Value, which: usize) -> Result<Value> {
        let missing = || misfit(format!("factor {which} of {}", factors.tensor().len()));
        let factor = *factors.tensor().host().get(which).ok_or_else(missing)?;
        if factors.is_tracked() { self.apply(Times { factor, which }, [x, factors]) } else { self.scale(x, factor) }
    }

    /// Every entry within ± `bound`.
    ///
    /// # Errors
    /// None so far.
    pub fn clamp(&mut self, x: &Value, bound: f32) -> Result<Value> {
        self.apply(Clamp(bound), [x])
    }

    /// `cap·tanh(x / cap)` of every entry.
    ///
    /// # Errors
    /// None so far.
    pub fn soft_cap(&mut self, x: &Value, cap: f32) -> Result<Value> {
        self.apply(SoftCap(cap), [x])
    }
}
