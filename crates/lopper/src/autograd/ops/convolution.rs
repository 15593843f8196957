//! Causal convolution of every channel by itself.

use lopper_kernels::{ConvolutionShape, convolution, convolution_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Convolution {
    offsets: Vec<usize>,
}

impl Convolution {
    fn shape(&self, width: usize, weight: &Tensor) -> ConvolutionShape<'_> {
        ConvolutionShape { width, taps: weight.len() / width.max(1), offsets: &self.offsets }
    }
}

impl Op<3> for Convolution {
    type Saved = [Tensor; 2];

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<(Tensor, [Tensor; 2])> {
        let [tokens, width] = x.matrix()?;
        let fits = weight.shape().first() == Some(&width) && bias.len() == width && weight.shape().get(1) == Some(&1);
        if !fits || self.offsets.last() != Some(&tokens) {
            return Err(misfit(format!("a convolution of {:?} by {:?}", x.shape(), weight.shape())));
        }
        let shape = self.shape(width, weight);
        let y = Tensor::filled([tokens, width], |y| {
            convolution(&shape, x.host(), weight.host(), Some(bias.host()), y);
        });
        Ok((y, [x, weight].map(Tensor::clone)))
    }

    fn backward(self, [x, weight]: [Tensor; 2], dy: Tensor, inputs: &mut Inputs) {
        let width = dy.width();
        let mut found = [Tensor::zeros(x.shape()), Tensor::zeros(weight.shape()), Tensor::zeros([width])];
        let [dx, d_weight, d_bias] = found.each_mut().map(Tensor::host_mut);
        let shape = self.shape(width, &weight);
        convolution_backward(&shape, (x.host(), weight.host(), dy.host()), dx, d_weight, d_bias);
        found.into_iter().enumerate().for_each(|(index, gradient)| inputs.give(index, gradient));
    }
}

impl Tape {
    /// x [tokens, d], weight [d, 1, taps], bias `[d]` → [tokens, d]; sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn convolution(&mut self, x: &Value, weight: &Value, bias: &Value, offsets: &[usize]) -> Result<Value> {
        self.apply(Convolution { offsets: offsets.to_vec() }, [x, weight, bias])
    }
}
