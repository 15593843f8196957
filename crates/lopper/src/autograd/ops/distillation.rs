//! `T²·Σ p·(log p − log q)`, p and q the softmax of the teacher's and the student's logits over T
//! (Hinton et al. 2015, arXiv 1503.02531).

use candle_core::{D, Result, Tensor};
use lopper_kernels::{copied, distillation, distillation_backward};

use crate::autograd::storage::read;
use crate::autograd::tape::{Tape, Value};

impl Tape {
    /// Sum over rows, a scalar; logits and teacher [tokens, vocabulary].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn distillation(&mut self, logits: &Value, teacher: &Tensor, temperature: f32) -> Result<Value> {
        let (rows, classes) = logits.tensor().dims2()?;
        if teacher.shape() != logits.tensor().shape() {
            candle_core::bail!("distillation: {:?} against {:?}", logits.tensor().dims(), teacher.dims());
        }
        if !self.is_fused(logits) {
            return self.candle([logits], |[logits]| composed(&logits, teacher, f64::from(temperature)));
        }
        let mut divergence = vec![0.0; rows];
        read([logits.tensor(), teacher], |[student, teacher]| {
            distillation(student, teacher, classes, temperature, &mut divergence);
        })?;
        let loss = divergence.iter().map(|&x| f64::from(x)).sum::<f64>();
        let (owned, teacher) = (logits.clone(), teacher.clone());
        Ok(self.push(Tensor::new(loss as f32, logits.tensor().device())?, &[logits], move |upstream, sink| {
            let scale = upstream.to_scalar::<f32>()?;
            let gradient = read([owned.tensor(), &teacher], |[student, teacher]| {
                let mut gradient = copied(student);
                distillation_backward(&mut gradient, teacher, classes, temperature, scale);
                gradient
            })?;
            sink.give(&owned, Tensor::from_vec(gradient, (rows, classes), owned.tensor().device())?)
        }))
    }
}

fn composed(logits: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let log_softmax = |x: &Tensor| {
        let x = (x / temperature)?;
        let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
        shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
    };
    let of_teacher = log_softmax(teacher)?;
    (of_teacher.exp()? * (&of_teacher - log_softmax(logits)?)?)?.sum_all()? * (temperature * temperature)
}
