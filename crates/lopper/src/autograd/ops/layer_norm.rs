//! `y = (x − μ) / √(σ² + ε) · w + b` (Ba, Kiros & Hinton 2016, arXiv 1607.06450, eq. 4).

use lopper_kernels::{layer_norm, layer_norm_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct LayerNorm {
    epsilon: f32,
}

/// Input and weight, mean and inverse deviation of each row.
struct Saved {
    x: Tensor,
    weight: Tensor,
    rows: [Vec<f32>; 2],
}

impl Op<3> for LayerNorm {
    type Saved = Saved;

    fn forward(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<(Tensor, Saved)> {
        let n = weight.len();
        if n == 0 || bias.len() != n || !x.len().is_multiple_of(n) {
            return Err(misfit(format!("a norm of {n} and {} in {:?}", bias.len(), x.shape())));
        }
        let [mut mean, mut inverse] = [0; 2].map(|_| vec![0.0; x.len() / n]);
        let y = Tensor::filled(x.shape(), |y| {
            let parameters = (Some(weight.host()), Some(bias.host()));
            layer_norm(x.host(), parameters.0, parameters.1, n, self.epsilon, y, &mut mean, &mut inverse);
        });
        Ok((y, Saved { x: x.clone(), weight: weight.clone(), rows: [mean, inverse] }))
    }

    fn backward(self, Saved { x, weight, rows: [mean, inverse] }: Saved, dy: Tensor, inputs: &mut Inputs) {
        let n = weight.len();
        let (dy, x, w) = (dy.host(), x.host(), Some(weight.host()));
        inputs.with(0, |dx, accumulate| {
            layer_norm_backward(dy, x, w, &mean, &inverse, n, Some(dx), accumulate, None, None);
        });
        for index in [1, 2] {
            inputs.with(index, |sum, accumulate| {
                if !accumulate {
                    sum.fill(0.0);
                }
                let (d_weight, d_bias) = if index == 1 { (Some(sum), None) } else { (None, Some(sum)) };
                layer_norm_backward(dy, x, w, &mean, &inverse, n, None, false, d_weight, d_bias);
            });
        }
    }
}

impl Tape {
    /// x […, n], weight and bias `[n]` → the shape of x; every n entries are a row.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn layer_norm(&mut self, x: &Value, weight: &Value, bias: &Value, epsilon: f32) -> Result<Value> {
        self.apply(LayerNorm { epsilon }, [x, weight, bias])
    }
}
