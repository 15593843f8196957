//! `y = x / √(mean(x²) + ε) · w` (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4).

use lopper_kernels::{rms_norm, rms_norm_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct RmsNorm {
    /// Entries of a row.
    width: usize,
    epsilon: f32,
}

impl Op<2> for RmsNorm {
    /// Input, weight, and the inverse root mean square of each row.
    type Saved = (Tensor, Tensor, Vec<f32>);

    fn forward(&self, [x, weight]: [&Tensor; 2]) -> Result<(Tensor, Self::Saved)> {
        let (n, weights) = (self.width, weight.len());
        if n == 0 || weights == 0 || !weights.is_multiple_of(n) || !x.len().is_multiple_of(weights) {
            return Err(misfit(format!("a norm of {n} in {:?} with {weights} weights", x.shape())));
        }
        let mut inverse = vec![0.0; x.len() / n];
        let y = Tensor::filled(x.shape(), |y| rms_norm(x.host(), weight.host(), self.epsilon, y, &mut inverse));
        Ok((y, (x.clone(), weight.clone(), inverse)))
    }

    fn backward(self, (x, weight, inverse): Self::Saved, dy: Tensor, inputs: &mut Inputs) {
        let (dy, x, w) = (dy.host(), x.host(), weight.host());
        inputs.with(0, |dx, accumulate| rms_norm_backward(dy, x, w, &inverse, Some(dx), accumulate, None));
        inputs.with(1, |dw, accumulate| {
            if !accumulate {
                dw.fill(0.0);
            }
            rms_norm_backward(dy, x, w, &inverse, None, false, Some(dw));
        });
    }
}

impl Tape {
    /// x […, n] → the shape of x; every `width` entries are a row: a token, or a head of a token. The weight is as long, or has a part for
    /// each of several rows in turn.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn rms_norm(&mut self, x: &Value, weight: &Value, width: usize, epsilon: f32) -> Result<Value> {
        self.apply(RmsNorm { width, epsilon }, [x, weight])
    }
}
