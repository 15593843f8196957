//! What an op is: one value with its way forward and its way back. [`Tape::apply`](super::Tape) is the one place that dispatches
//! ops; a device will bring ways of its own there.

use super::tape::Sink;
use crate::error::Result;
use crate::tensor::Tensor;

/// A differentiable function of `N` tensors. (One of any number of them goes to [`Tape::record`](super::Tape) itself.)
pub(super) trait Op<const N: usize>: Sized + 'static {
    /// What the backward pass reads of the forward pass.
    type Saved: 'static;

    /// The output, and what is kept for the backward pass.
    ///
    /// # Errors
    /// If shapes do not fit.
    fn forward(&self, inputs: [&Tensor; N]) -> Result<(Tensor, Self::Saved)>;

    /// Sends the gradient of the output, which it owns alone, on to the inputs.
    fn backward(self, saved: Self::Saved, gradient: Tensor, inputs: &mut Inputs);
}

/// The inputs of an op as the backward pass sees them: places for their gradients.
pub(super) struct Inputs<'a> {
    pub sink: &'a mut Sink,
    /// The node of each, if it is tracked, and its shape.
    pub of: Vec<(Option<usize>, Vec<usize>)>,
}

impl Inputs<'_> {
    /// Whether the gradient of input `index` is asked for.
    pub fn wants(&self, index: usize) -> bool {
        self.of[index].0.is_some()
    }

    /// Gives input `index` a gradient of its shape, which the caller owns alone.
    pub fn give(&mut self, index: usize, gradient: Tensor) {
        if let Some(node) = self.of[index].0 {
            self.sink.give(node, gradient);
        }
    }

    /// Lets `f(buffer, accumulate)` overwrite the gradient of input `index`, or add to it, in place.
    pub fn with(&mut self, index: usize, f: impl FnOnce(&mut [f32], bool)) {
        let (node, shape) = &self.of[index];
        if let Some(node) = node {
            self.sink.with(*node, shape, f);
        }
    }
}
