//! What a window is trained to give: the activations of the dense model.

use lopper_kernels::{Precision, squared_error};

use super::Loss;
use crate::autograd::{Tape, Value};
use crate::calibration::HiddenStates;
use crate::error::Result;
use crate::tensor::Tensor;

/// What the output of a window is compared with.
pub trait Objective {
    /// `scale` times a sum over the tokens of these sequences, a scalar; y as the window gives it for them.
    ///
    /// # Errors
    /// If shapes do not fit, or memory is short.
    fn loss(&self, tape: &mut Tape, y: &Value, indices: &[usize], scale: f32) -> Result<Value>;

    /// The sum that training is judged by, and how many terms it has.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn error(&self, y: &Tensor, indices: &[usize], precision: Precision) -> Result<(f64, usize)>;
}

/// Activations to be matched.
pub struct Matching<'a> {
    /// What the window should give.
    pub targets: &'a HiddenStates,
    /// How the distance is measured.
    pub loss: Loss,
}

impl Matching<'_> {
    fn target(&self, indices: &[usize]) -> Result<Tensor> {
        self.targets.batch(indices).map(|(target, _)| target)
    }
}

impl Objective for Matching<'_> {
    fn loss(&self, tape: &mut Tape, y: &Value, indices: &[usize], scale: f32) -> Result<Value> {
        let target = self.target(indices)?;
        match self.loss {
            Loss::Mse => tape.squared_error(y, &target, scale),
            Loss::MseNormalized => tape.normalized_squared_error(y, &target, scale),
            Loss::Cosine => tape.cosine_distance(y, &target, scale),
        }
    }

    fn error(&self, y: &Tensor, indices: &[usize], precision: Precision) -> Result<(f64, usize)> {
        if self.loss != Loss::Mse {
            let loss = self.loss(&mut Tape::new(precision), &y.into(), indices, 1.0)?;
            return Ok((f64::from(loss.tensor().item()?), y.shape()[0]));
        }
        Ok((squared_error(y.host(), self.target(indices)?.host()), y.len()))
    }
}
