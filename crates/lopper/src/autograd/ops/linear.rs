//! `y = x·Wᵀ + b (+ residual)`, the weight as in the file: [d_out, d_in].

use candle_core::{DType, Result, Tensor};
use lopper_kernels::{Precision, View, add_bias, column_sums, copied, matmul, product};

use crate::autograd::storage::read;
use crate::autograd::tape::{Sink, Tape, Value};

impl Tape {
    /// x [tokens, d_in], weight [d_out, d_in], bias `[d_out]`, residual [tokens, d_out] → [tokens, d_out].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn linear(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let mut y = if self.is_fused(x) {
            self.linear_fused(x, weight, residual)?
        } else {
            self.linear_composed(x, weight, residual)?
        };
        if let Some(bias) = bias {
            y = self.bias(&y, bias)?;
        }
        Ok(y)
    }

    fn linear_fused(&mut self, x: &Value, weight: &Value, residual: Option<&Value>) -> Result<Value> {
        let (tokens, d_in) = x.tensor().dims2()?;
        let (d_out, weight_in) = weight.tensor().dims2()?;
        if weight_in != d_in {
            candle_core::bail!("linear: input [{tokens}, {d_in}] does not fit weight [{d_out}, {weight_in}]");
        }
        let precision = self.precision();
        let y = read([x.tensor(), weight.tensor()], |[x, w]| {
            let (x, w) = (View::new(x, tokens, d_in), View::new(w, d_out, d_in).t());
            let Some(residual) = residual else { return Ok(product(x, w, precision)) };
            let mut y = read([residual.tensor()], |[residual]| copied(residual))?;
            matmul(&mut y, d_out, true, x, w, precision);
            Ok::<_, candle_core::Error>(y)
        })??;
        let y = Tensor::from_vec(y, (tokens, d_out), x.tensor().device())?;
        let (inputs, owned) = ([Some(x), Some(weight), residual], [x, weight].map(Value::clone));
        let inputs: Vec<&Value> = inputs.into_iter().flatten().collect();
        let kept = residual.cloned();
        Ok(self.push(y, &inputs, move |dy, sink| {
            let [x, weight] = &owned;
            linear_backward(x, weight, &dy, precision, sink)?;
            kept.map_or(Ok(()), |residual| sink.give(&residual, dy))
        }))
    }

    fn linear_composed(&mut self, x: &Value, weight: &Value, residual: Option<&Value>) -> Result<Value> {
        let half = self.precision() == Precision::Bf16;
        let product = |x: Tensor, w: Tensor| {
            if half {
                x.to_dtype(DType::BF16)?.matmul(&w.to_dtype(DType::BF16)?.t()?)?.to_dtype(DType::F32)
            } else {
                x.matmul(&w.t()?)
            }
        };
        match residual {
            Some(residual) => self.candle([x, weight, residual], |[x, w, r]| product(x, w)? + r),
            None => self.candle([x, weight], |[x, w]| product(x, w)),
        }
    }

    /// Adds `bias` `[n]` to every row of `x` [tokens, n].
    pub(super) fn bias(&mut self, x: &Value, bias: &Value) -> Result<Value> {
        if !self.is_fused(x) {
            return self.candle([x, bias], |[x, b]| x.broadcast_add(&b));
        }
        let y = read([x.tensor(), bias.tensor()], |[x, b]| {
            let mut y = copied(x);
            add_bias(&mut y, b);
            y
        })?;
        let y = Tensor::from_vec(y, x.tensor().shape(), x.tensor().device())?;
        let owned = [x, bias].map(Value::clone);
        Ok(self.push(y, &[x, bias], move |dy, sink| {
            let [x, bias] = &owned;
            read([&dy], |[dy]| {
                sink.with(bias, |sum, accumulate| {
                    if !accumulate {
                        sum.fill(0.0);
                    }
                    column_sums(dy, sum);
                })
            })??;
            sink.give(x, dy)
        }))
    }
}

/// dW (+)= dyᵀ·x and dx (+)= dy·W.
fn linear_backward(x: &Value, weight: &Value, dy: &Tensor, precision: Precision, sink: &mut Sink) -> Result<()> {
    let (tokens, d_in) = x.tensor().dims2()?;
    let d_out = weight.tensor().dim(0)?;
    read([dy, x.tensor()], |[dy, x]| {
        sink.with(weight, |dw, accumulate| {
            matmul(dw, d_in, accumulate, View::new(dy, tokens, d_out).t(), View::new(x, tokens, d_in), precision);
        })
    })??;
    read([dy, weight.tensor()], |[dy, w]| {
        sink.with(x, |dx, accumulate| {
            matmul(dx, d_in, accumulate, View::new(dy, tokens, d_out), View::new(w, d_out, d_in), precision);
        })
    })?
}
