//! `y = x·Wᵀ + b (+ residual)`, the weight as in the file: [d_out, d_in].

use lopper_kernels::{Precision, View, add_bias, column_sums, copied, matmul, product};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// `x·Wᵀ`
struct Linear(Precision);

/// `x·Wᵀ + residual`
struct LinearOnto(Precision);

struct Bias;

/// Tokens, d_in and d_out.
fn sizes(x: &Tensor, weight: &Tensor) -> Result<[usize; 3]> {
    let ([tokens, d_in], [d_out, weight_in]) = (x.matrix()?, weight.matrix()?);
    if weight_in != d_in {
        return Err(misfit(format!("linear: input {:?} does not fit weight {:?}", x.shape(), weight.shape())));
    }
    Ok([tokens, d_in, d_out])
}

impl Op<2> for Linear {
    type Saved = [Tensor; 2];

    fn forward(&self, [x, weight]: [&Tensor; 2]) -> Result<(Tensor, [Tensor; 2])> {
        let [tokens, d_in, d_out] = sizes(x, weight)?;
        let (a, b) = (View::new(x.host(), tokens, d_in), View::new(weight.host(), d_out, d_in).t());
        Ok((Tensor::new([tokens, d_out], product(a, b, self.0)), [x, weight].map(Tensor::clone)))
    }

    fn backward(self, saved: [Tensor; 2], dy: Tensor, inputs: &mut Inputs) {
        backward(&saved, &dy, self.0, inputs);
    }
}

impl Op<3> for LinearOnto {
    type Saved = [Tensor; 2];

    fn forward(&self, [x, weight, residual]: [&Tensor; 3]) -> Result<(Tensor, [Tensor; 2])> {
        let [tokens, d_in, d_out] = sizes(x, weight)?;
        if residual.shape() != [tokens, d_out] {
            return Err(misfit(format!("linear: residual {:?} for [{tokens}, {d_out}]", residual.shape())));
        }
        let (a, b) = (View::new(x.host(), tokens, d_in), View::new(weight.host(), d_out, d_in).t());
        let mut y = copied(residual.host());
        matmul(&mut y, d_out, true, a, b, self.0);
        Ok((Tensor::new([tokens, d_out], y), [x, weight].map(Tensor::clone)))
    }

    fn backward(self, saved: [Tensor; 2], dy: Tensor, inputs: &mut Inputs) {
        backward(&saved, &dy, self.0, inputs);
        inputs.give(2, dy);
    }
}

/// dW (+)= dyᵀ·x and dx (+)= dy·W.
fn backward([x, weight]: &[Tensor; 2], dy: &Tensor, precision: Precision, inputs: &mut Inputs) {
    let (tokens, d_in, d_out) = (dy.shape()[0], x.width(), dy.width());
    inputs.with(1, |dw, accumulate| {
        let (dy, x) = (View::new(dy.host(), tokens, d_out).t(), View::new(x.host(), tokens, d_in));
        matmul(dw, d_in, accumulate, dy, x, precision);
    });
    inputs.with(0, |dx, accumulate| {
        let (dy, w) = (View::new(dy.host(), tokens, d_out), View::new(weight.host(), d_out, d_in));
        matmul(dx, d_in, accumulate, dy, w, precision);
    });
}

impl Op<2> for Bias {
    type Saved = ();

    fn forward(&self, [x, bias]: [&Tensor; 2]) -> Result<(Tensor, ())> {
        if x.width() != bias.len() {
            return Err(misfit(format!("bias {:?} of {:?}", bias.shape(), x.shape())));
        }
        let mut y = x.clone();
        add_bias(y.host_mut(), bias.host());
        Ok((y, ()))
    }

    fn backward(self, (): (), dy: Tensor, inputs: &mut Inputs) {
        inputs.with(1, |sum, accumulate| {
            if !accumulate {
                sum.fill(0.0);
            }
            column_sums(dy.host(), sum);
        });
        inputs.give(0, dy);
    }
}

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
        let y = match residual {
            Some(residual) => self.apply(LinearOnto(self.precision()), [x, weight, residual])?,
            None => self.apply(Linear(self.precision()), [x, weight])?,
        };
        self.biased(y, bias)
    }

    /// The same without a residual, in f32 whatever the precision of the tape.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn score(&mut self, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        let y = self.apply(Linear(Precision::F32), [x, weight])?;
        self.biased(y, bias)
    }

    /// Adds `bias` `[n]`, if there is one, to every row of `x` [tokens, n].
    pub(super) fn biased(&mut self, x: Value, bias: Option<&Value>) -> Result<Value> {
        match bias {
            Some(bias) => self.apply(Bias, [&x, bias]),
            None => Ok(x),
        }
    }
}
