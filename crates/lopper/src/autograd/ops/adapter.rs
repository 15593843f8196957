//! A weight with a low-rank adapter, `P = B·A`, as one matrix:
//! LoRA `W + s·P` (Hu et al. 2021, arXiv 2106.09685), its form that keeps zeros `W + s·P ⊙ M` and the scaling `W ⊙ P`
//! (Zimmer et al. 2023, arXiv 2312.15230), and SPP `W + W ⊙ s·P` (Lu et al. 2024, arXiv 2405.16057).
//!
//! The product is always f32. The gradient of the whole matrix is formed first: `dP = s·dW [⊙ M or ⊙ W]`, `dB = dP·Aᵀ`, `dA = Bᵀ·dP`.

use candle_core::{DType, Result, Tensor};
use lopper_kernels::{Precision, View, add_assign, apply_mask, copied, matmul, multiply_assign, product};

use crate::autograd::storage::read;
use crate::autograd::tape::{Tape, Value};
use crate::sparsity::Mask;

/// How the product meets the weight.
#[derive(Clone, Debug, PartialEq)]
pub enum AdapterForm {
    /// `W + s·P`; where there is a mask, `W + s·P ⊙ M`.
    Added {
        /// s
        scale: f32,
        /// M
        mask: Option<Mask>,
    },
    /// `W ⊙ (o + s·P)`: zeros stay zeros.
    Multiplied {
        /// o
        offset: f32,
        /// s
        scale: f32,
    },
}

impl Tape {
    /// weight [d_out, d_in], left B [d_out, rank], right A [rank, d_in] → [d_out, d_in].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn adapted(&mut self, [weight, left, right]: [&Value; 3], form: &AdapterForm) -> Result<Value> {
        if !self.is_fused(weight) {
            return self.candle([weight, left, right], |[w, b, a]| composed(&w, &b.matmul(&a)?, form));
        }
        let (rank, (d_out, d_in)) = (left.tensor().dim(1)?, weight.tensor().dims2()?);
        let y = read([weight.tensor(), left.tensor(), right.tensor()], |[w, b, a]| {
            let mut y = product(View::new(b, d_out, rank), View::new(a, rank, d_in), Precision::F32);
            form.meet(&mut y, w);
            y
        })?;
        let y = Tensor::from_vec(y, (d_out, d_in), weight.tensor().device())?;
        let (owned, form) = ([weight, left, right].map(Value::clone), form.clone());
        Ok(self.push(y, &[weight, left, right], move |dy, sink| {
            let [weight, left, right] = &owned;
            if weight.is_tracked() {
                let own = form.factor(weight.tensor(), left.tensor(), right.tensor())?;
                sink.give(weight, own.map_or_else(|| dy.copy(), |own| &dy * own)?)?;
            }
            read([&dy, weight.tensor(), left.tensor(), right.tensor()], |[dy, w, b, a]| {
                let dp = form.gradient(dy, w);
                let dp = View::new(&dp, d_out, d_in);
                let (b, a) = (View::new(b, d_out, rank).t(), View::new(a, rank, d_in).t());
                sink.with(left, |db, accumulate| matmul(db, rank, accumulate, dp, a, Precision::F32))?;
                sink.with(right, |da, accumulate| matmul(da, d_in, accumulate, b, dp, Precision::F32))
            })?
        }))
    }
}

impl AdapterForm {
    /// Makes the adapted weight of the product.
    fn meet(&self, product: &mut [f32], weight: &[f32]) {
        match self {
            Self::Added { scale, mask } => {
                multiply(product, *scale);
                if let Some(mask) = mask {
                    apply_mask(product, mask.as_slice());
                }
                add_assign(product, weight);
            }
            Self::Multiplied { offset, scale } => {
                for p in product.iter_mut() {
                    *p = offset + scale * *p;
                }
                multiply_assign(product, weight);
            }
        }
    }

    /// dP of the gradient of the adapted weight.
    fn gradient(&self, dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut dp = copied(dy);
        let scale = match self {
            Self::Added { scale, mask } => {
                if let Some(mask) = mask {
                    apply_mask(&mut dp, mask.as_slice());
                }
                *scale
            }
            Self::Multiplied { scale, .. } => {
                multiply_assign(&mut dp, weight);
                *scale
            }
        };
        multiply(&mut dp, scale);
        dp
    }

    /// What a weight that trains beside its adapter is multiplied by; `None` for one.
    fn factor(&self, weight: &Tensor, left: &Tensor, right: &Tensor) -> Result<Option<Tensor>> {
        match self {
            Self::Added { .. } => Ok(None),
            Self::Multiplied { .. } => Ok(Some(composed(&weight.ones_like()?, &left.matmul(right)?, self)?)),
        }
    }
}

fn multiply(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

fn composed(weight: &Tensor, product: &Tensor, form: &AdapterForm) -> Result<Tensor> {
    match form {
        AdapterForm::Added { scale, mask } => {
            let mut product = (product * f64::from(*scale))?;
            if let Some(mask) = mask {
                product = (product * mask.to_tensor(weight.device())?.to_dtype(DType::F32)?)?;
            }
            weight + product
        }
        AdapterForm::Multiplied { offset, scale } => weight * product.affine(f64::from(*scale), f64::from(*offset))?,
    }
}
