//! Losses: squared error, cross-entropy, and any whose gradient is known with its value.

use lopper_kernels::{cross_entropy, cross_entropy_backward, squared_error, squared_error_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// A loss that was found with its gradient.
struct Differentiated {
    loss: f32,
    gradient: Tensor,
}

impl Op<1> for Differentiated {
    type Saved = ();

    fn forward(&self, [y]: [&Tensor; 1]) -> Result<(Tensor, ())> {
        if y.shape() != self.gradient.shape() {
            return Err(misfit(format!("a gradient {:?} of {:?}", self.gradient.shape(), y.shape())));
        }
        Ok((Tensor::scalar(self.loss), ()))
    }

    fn backward(self, (): (), upstream: Tensor, inputs: &mut Inputs) {
        let (upstream, mut gradient) = (upstream.host()[0], self.gradient);
        if (upstream - 1.0).abs() >= f32::EPSILON {
            gradient.host_mut().iter_mut().for_each(|g| *g *= upstream);
        }
        inputs.give(0, gradient);
    }
}

struct SquaredError {
    target: Tensor,
    scale: f32,
}

impl Op<1> for SquaredError {
    type Saved = Tensor;

    fn forward(&self, [y]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        if y.shape() != self.target.shape() {
            return Err(misfit(format!("a loss of {:?} against {:?}", y.shape(), self.target.shape())));
        }
        let loss = squared_error(y.host(), self.target.host()) as f32 * self.scale;
        Ok((Tensor::scalar(loss), y.clone()))
    }

    fn backward(self, y: Tensor, upstream: Tensor, inputs: &mut Inputs) {
        let scale = 2.0 * self.scale * upstream.host()[0];
        inputs.with(0, |dy, accumulate| squared_error_backward(y.host(), self.target.host(), scale, dy, accumulate));
    }
}

struct CrossEntropy(Vec<u32>);

impl Op<1> for CrossEntropy {
    type Saved = Tensor;

    fn forward(&self, [logits]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let [rows, classes] = logits.matrix()?;
        if self.0.len() != rows || self.0.iter().any(|&target| target as usize >= classes) {
            return Err(misfit(format!("{} targets for logits {:?}", self.0.len(), logits.shape())));
        }
        let mut nll = vec![0.0; rows];
        cross_entropy(logits.host(), classes, &self.0, &mut nll);
        let loss = nll.iter().map(|&x| f64::from(x)).sum::<f64>() / rows as f64;
        Ok((Tensor::scalar(loss as f32), logits.clone()))
    }

    fn backward(self, mut logits: Tensor, upstream: Tensor, inputs: &mut Inputs) {
        let (classes, mean) = (logits.width(), 1.0 / self.0.len() as f32);
        cross_entropy_backward(logits.host_mut(), classes, &self.0, mean * upstream.host()[0]);
        inputs.give(0, logits);
    }
}

impl Tape {
    /// A scalar whose gradient in y was computed with it: a loss that goes over its input piece by piece.
    ///
    /// # Errors
    /// If the gradient has not the shape of y.
    pub fn differentiated(&mut self, y: &Value, loss: f32, gradient: Tensor) -> Result<Value> {
        self.apply(Differentiated { loss, gradient }, [y])
    }

    /// `scale · Σ (y − target)²`, a scalar; y and target of one shape. With `scale = 1 / n` the mean squared error.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn squared_error(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        self.apply(SquaredError { target: target.clone(), scale }, [y])
    }

    /// Mean over rows of `−log softmax(logits)[target]`, a scalar; logits [tokens, vocabulary], one target per row.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn cross_entropy(&mut self, logits: &Value, targets: &[u32]) -> Result<Value> {
        self.apply(CrossEntropy(targets.to_vec()), [logits])
    }
}
