//! Linear layers on a normed input: `y = (x̂ ⊙ γ)·Wᵀ + b`, `x̂ = x / √(mean(x²) + ε)`.
//!
//! A window's input is a constant, so its norm passes nothing back but the gradient of γ, and that needs no product with dy:
//! dγ_j = Σ_t (Σ_o dy_to·W_oj)·x̂_tj = Σ_o W_oj·dW_oj / γ_j, because dW_oj = Σ_t dy_to·x̂_tj·γ_j is computed anyway.

use candle_core::{Result, Tensor};
use lopper_kernels::{Precision, View, add_assign, column_products, matmul};

use crate::autograd::storage::read;
use crate::autograd::tape::{Sink, Tape, Value};

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
}

impl Tape {
    /// The RMS norm of x [tokens, d] with weight `[d]`, for linear layers to read.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn norm(&mut self, x: &Value, weight: &Value, epsilon: f32) -> Result<Normed> {
        let cheap = self.is_fused(x) && weight.is_tracked() && !x.is_tracked() && nowhere_zero(weight.tensor())?;
        if cheap {
            let value = self.rms_norm(x, &weight.tensor().into(), epsilon)?;
            return Ok(Normed { value, weight: Some(weight.clone()) });
        }
        Ok(Normed { value: self.rms_norm(x, weight, epsilon)?, weight: None })
    }

    /// [`Tape::linear`] of a normed input.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn normed_linear(&mut self, x: &Normed, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        let Some(gamma) = &x.weight else { return self.linear(&x.value, weight, bias, None) };
        let precision = self.precision();
        let y = Self::inference(precision).linear(&x.value, &weight.tensor().into(), None, None)?;
        let (input, owned) = (x.value.clone(), [gamma, weight].map(Value::clone));
        let y = self.push(y.tensor().clone(), &[gamma, weight], move |dy, sink| {
            let [gamma, weight] = &owned;
            backward(input.tensor(), gamma, weight, &dy, precision, sink)
        });
        match bias {
            Some(bias) => self.bias(&y, bias),
            None => Ok(y),
        }
    }
}

/// dW (+)= dyᵀ·(x̂ ⊙ γ) and dγ (+)= Σ_o W ⊙ dW / γ.
fn backward(
    x: &Tensor,
    gamma: &Value,
    weight: &Value,
    dy: &Tensor,
    precision: Precision,
    sink: &mut Sink,
) -> Result<()> {
    let ((tokens, d_in), d_out) = (x.dims2()?, weight.tensor().dim(0)?);
    let mut shares = vec![0.0; d_in];
    read([x, dy, weight.tensor()], |[x, dy, w]| {
        let mut product = |dw: &mut [f32]| {
            matmul(dw, d_in, false, View::new(dy, tokens, d_out).t(), View::new(x, tokens, d_in), precision);
            column_products(w, dw, &mut shares);
        };
        if !weight.is_tracked() {
            product(&mut vec![0.0; d_out * d_in]);
            return Ok(());
        }
        sink.with(weight, |dw, accumulate| {
            if accumulate {
                let mut own = vec![0.0; d_out * d_in];
                product(&mut own);
                add_assign(dw, &own);
            } else {
                product(dw);
            }
        })
    })??;
    let gradient = read([gamma.tensor()], |[gamma]| {
        shares.iter_mut().zip(gamma).for_each(|(share, gamma)| *share /= gamma);
        shares
    })?;
    let gradient = Tensor::from_vec(gradient, gamma.tensor().shape(), gamma.tensor().device())?;
    sink.give(gamma, gradient)
}

fn nowhere_zero(weight: &Tensor) -> Result<bool> {
    read([weight], |[weight]| weight.iter().all(|&gamma| gamma != 0.0))
}
