//! Losses: mean squared error, cross-entropy, and any whose gradient is known with its value.

use candle_core::{D, Result, Tensor};
use lopper_kernels::{copied, cross_entropy, cross_entropy_backward, squared_error, squared_error_backward};

use crate::autograd::storage::read;
use crate::autograd::tape::{Tape, Value};

impl Tape {
    /// A scalar whose gradients in `inputs` were computed with it: a loss that goes over its input piece by piece.
    ///
    /// # Errors
    /// If memory is short.
    pub fn differentiated(&mut self, loss: f32, inputs: Vec<(Value, Tensor)>) -> Result<Value> {
        let Some((first, _)) = inputs.first() else { candle_core::bail!("a loss of nothing") };
        let loss = Tensor::new(loss, first.tensor().device())?;
        let values: Vec<Value> = inputs.iter().map(|(value, _)| value.clone()).collect();
        Ok(self.push(loss, &values.iter().collect::<Vec<_>>(), move |upstream, sink| {
            let upstream = f64::from(upstream.to_scalar::<f32>()?);
            for (value, gradient) in inputs {
                let scaled = if (upstream - 1.0).abs() < f64::EPSILON { gradient } else { (gradient * upstream)? };
                sink.give(&value, scaled)?;
            }
            Ok(())
        }))
    }

    /// `scale · Σ (y − target)²`, a scalar; y and target of one shape. With `scale = 1 / n` the mean squared error.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn squared_error(&mut self, y: &Value, target: &Tensor, scale: f32) -> Result<Value> {
        if !self.is_fused(y) {
            return self.candle([y], |[y]| (y - target)?.sqr()?.sum_all()? * f64::from(scale));
        }
        let loss = read([y.tensor(), target], |[y, target]| squared_error(y, target) as f32 * scale)?;
        let (owned, target) = (y.clone(), target.clone());
        Ok(self.push(Tensor::new(loss, y.tensor().device())?, &[y], move |upstream, sink| {
            let scale = 2.0 * scale * upstream.to_scalar::<f32>()?;
            read([owned.tensor(), &target], |[y, target]| {
                sink.with(&owned, |dy, accumulate| squared_error_backward(y, target, scale, dy, accumulate))
            })?
        }))
    }

    /// Mean over rows of `−log softmax(logits)[target]`, a scalar; logits [tokens, vocabulary], one target per row.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn cross_entropy(&mut self, logits: &Value, targets: &[u32]) -> Result<Value> {
        let (rows, classes) = logits.tensor().dims2()?;
        let mean = 1.0 / rows as f32;
        if !self.is_fused(logits) {
            let index = Tensor::new(targets, logits.tensor().device())?.unsqueeze(1)?;
            return self.candle([logits], |[logits]| {
                let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
                let normaliser = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
                (normaliser - shifted.gather(&index, 1)?)?.mean_all()
            });
        }
        let mut nll = vec![0.0; rows];
        read([logits.tensor()], |[logits]| cross_entropy(logits, classes, targets, &mut nll))?;
        let loss = nll.iter().map(|&x| f64::from(x)).sum::<f64>() / rows as f64;
        let (owned, targets) = (logits.clone(), targets.to_vec());
        Ok(self.push(Tensor::new(loss as f32, logits.tensor().device())?, &[logits], move |upstream, sink| {
            let scale = mean * upstream.to_scalar::<f32>()?;
            let mut gradient = read([owned.tensor()], |[logits]| copied(logits))?;
            cross_entropy_backward(&mut gradient, classes, &targets, scale);
            sink.give(&owned, Tensor::from_vec(gradient, (rows, classes), owned.tensor().device())?)
        }))
    }
}
