//! Linear layers on a normed input: `y = (x̂ ⊙ γ)·Wᵀ + b`, `x̂ = x / √(mean(x²) + ε)`.
//!
//! A window's input is a constant, so its norm passes nothing back but the gradient of γ, and that needs no product with dy:
//! dγ_j = Σ_t (Σ_o dy_to·W_oj)·x̂_tj = Σ_o W_oj·dW_oj / γ_j, because dW_oj = Σ_t dy_to·x̂_tj·γ_j is computed anyway.

use lopper_kernels::{Precision, View, add_assign, column_products, matmul, product};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// The output of a norm, read by linear layers.
#[derive(Clone, Debug)]
pub struct Normed {
    /// [tokens, d]; a constant where `weight` is given.
    value: Value,
    /// γ, where it trains and the input of the norm does not.
    weight: Option<Value>,
}

impl Normed {
    /// The numbers, [tokens, d].
    pub fn tensor(&self) -> &Tensor {
        self.value.tensor()
    }

    /// The value, for whatever else than a linear layer reads it; `None` where its gradient goes by the linear layers.
    pub fn value(&self) -> Option<&Value> {
        self.weight.is_none().then_some(&self.value)
    }

    /// The same, to keep.
    ///
    /// # Errors
    /// Where there is none.
    pub fn into_value(self) -> Result<Value> {
        if self.weight.is_none() { Ok(self.value) } else { Err(misfit("only linear layers can read this norm".into())) }
    }
}

impl From<Value> for Normed {
    fn from(value: Value) -> Self {
        Self { value, weight: None }
    }
}

impl Tape {
    /// The RMS norm of every `width` entries of x [tokens, d] with weight `[d]`, for linear layers to read.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn norm(&mut self, x: &Value, weight: &Value, width: usize, epsilon: f32) -> Result<Normed> {
        let cheap = weight.is_tracked() && !x.is_tracked() && !weight.tensor().host().contains(&0.0);
        if cheap {
            let value = self.rms_norm(x, &weight.tensor().into(), width, epsilon)?;
            return Ok(Normed { value, weight: Some(weight.clone()) });
        }
        Ok(self.rms_norm(x, weight, width, epsilon)?.into())
    }

    /// [`Tape::linear`] of a normed input.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn normed_linear(&mut self, x: &Normed, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        let Some(gamma) = &x.weight else { return self.linear(&x.value, weight, bias, None) };
        let op = NormedLinear { x: x.tensor().clone(), precision: self.precision() };
        let y = self.apply(op, [gamma, weight])?;
        self.biased(y, bias)
    }
}

/// Of an input that is a constant, as a function of γ and W.
struct NormedLinear {
    /// x̂ ⊙ γ
    x: Tensor,
    precision: Precision,
}

impl Op<2> for NormedLinear {
    type Saved = [Tensor; 2];

    fn forward(&self, [gamma, weight]: [&Tensor; 2]) -> Result<(Tensor, [Tensor; 2])> {
        let ([tokens, d_in], [d_out, weight_in]) = (self.x.matrix()?, weight.matrix()?);
        if weight_in != d_in {
            return Err(misfit(format!("linear: input {:?} does not fit weight {:?}", self.x.shape(), weight.shape())));
        }
        let (x, w) = (View::new(self.x.host(), tokens, d_in), View::new(weight.host(), d_out, d_in).t());
        Ok((Tensor::new([tokens, d_out], product(x, w, self.precision)), [gamma, weight].map(Tensor::clone)))
    }

    /// dW (+)= dyᵀ·(x̂ ⊙ γ) and dγ (+)= Σ_o W ⊙ dW / γ.
    fn backward(self, [gamma, weight]: [Tensor; 2], dy: Tensor, inputs: &mut Inputs) {
        let (tokens, d_in, d_out) = (dy.shape()[0], weight.width(), dy.width());
        let mut shares = vec![0.0; d_in];
        let mut product = |dw: &mut [f32]| {
            let (dy, x) = (View::new(dy.host(), tokens, d_out).t(), View::new(self.x.host(), tokens, d_in));
            matmul(dw, d_in, false, dy, x, self.precision);
            column_products(weight.host(), dw, &mut shares);
        };
        if inputs.wants(1) {
            inputs.with(1, |dw, accumulate| {
                if accumulate {
                    let mut own = vec![0.0; d_out * d_in];
                    product(&mut own);
                    add_assign(dw, &own);
                } else {
                    product(dw);
                }
            });
        } else {
            product(&mut vec![0.0; d_out * d_in]);
        }
        shares.iter_mut().zip(gamma.host()).for_each(|(share, gamma)| *share /= gamma);
        inputs.give(0, Tensor::new([d_in], shares));
    }
}
