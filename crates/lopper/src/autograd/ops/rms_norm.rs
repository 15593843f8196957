//! `y = x / √(mean(x²) + ε) · w` (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4).

use candle_core::{D, Result};
use lopper_kernels::{rms_norm, rms_norm_backward};

use crate::autograd::storage::{fill, read};
use crate::autograd::tape::{Tape, Value};

impl Tape {
    /// x [tokens, d], weight `[d]` → [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn rms_norm(&mut self, x: &Value, weight: &Value, epsilon: f32) -> Result<Value> {
        if !self.is_fused(x) {
            return self.candle([x, weight], |[x, w]| {
                let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(epsilon))?.sqrt()?;
                x.broadcast_div(&scale)?.broadcast_mul(&w)
            });
        }
        let mut inverse = vec![0.0; x.tensor().dim(0)?];
        let y = read([x.tensor(), weight.tensor()], |[a, w]| {
            fill(x.tensor().shape(), |y| rms_norm(a, w, epsilon, y, &mut inverse))
        })??;
        let owned = [x, weight].map(Value::clone);
        Ok(self.push(y, &[x, weight], move |dy, sink| {
            let [x, weight] = &owned;
            read([&dy, x.tensor(), weight.tensor()], |[dy, a, w]| {
                sink.with(x, |dx, accumulate| rms_norm_backward(dy, a, w, &inverse, Some(dx), accumulate, None))?;
                sink.with(weight, |dw, accumulate| {
                    if !accumulate {
                        dw.fill(0.0);
                    }
                    rms_norm_backward(dy, a, w, &inverse, None, false, Some(dw));
                })
            })?
        }))
    }
}
