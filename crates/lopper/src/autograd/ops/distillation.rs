//! `T²·Σ p·(log p − log q)`, p and q the softmax of the teacher's and the student's logits over T
//! (Hinton et al. 2015, arXiv 1503.02531).

use lopper_kernels::{distillation, distillation_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Distillation {
    teacher: Tensor,
    temperature: f32,
}

impl Op<1> for Distillation {
    type Saved = Tensor;

    fn forward(&self, [logits]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let [rows, classes] = logits.matrix()?;
        if self.teacher.shape() != logits.shape() {
            return Err(misfit(format!("distillation: {:?} against {:?}", logits.shape(), self.teacher.shape())));
        }
        let mut divergence = vec![0.0; rows];
        distillation(logits.host(), self.teacher.host(), classes, self.temperature, &mut divergence);
        let loss = divergence.iter().map(|&x| f64::from(x)).sum::<f64>();
        Ok((Tensor::scalar(loss as f32), logits.clone()))
    }

    fn backward(self, mut logits: Tensor, upstream: Tensor, inputs: &mut Inputs) {
        let (classes, scale) = (logits.width(), upstream.host()[0]);
        distillation_backward(logits.host_mut(), self.teacher.host(), classes, self.temperature, scale);
        inputs.give(0, logits);
    }
}

impl Tape {
    /// Sum over rows, a scalar; logits and teacher [tokens, vocabulary].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn distillation(&mut self, logits: &Value, teacher: &Tensor, temperature: f32) -> Result<Value> {
        self.apply(Distillation { teacher: teacher.clone(), temperature }, [logits])
    }
}
