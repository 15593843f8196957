//! A weight with a low-rank adapter, `P = B·A`, as one matrix:
//! LoRA `W + s·P` (Hu et al. 2021, arXiv 2106.09685), its form that keeps zeros `W + s·P ⊙ M` and the scaling `W ⊙ P`
//! (Zimmer et al. 2023, arXiv 2312.15230), and SPP `W + W ⊙ s·P` (Lu et al. 2024, arXiv 2405.16057).
//!
//! The product is always f32. The gradient of the whole matrix is formed first: `dP = s·dW [⊙ M or ⊙ W]`, `dB = dP·Aᵀ`, `dA = Bᵀ·dP`.

use lopper_kernels::{Precision, View, add_assign, apply_mask, copied, matmul, multiply_assign, product};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::sparsity::Mask;
use crate::tensor::{Tensor, misfit};

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
    pub fn adapted(&mut self, inputs: [&Value; 3], form: &AdapterForm) -> Result<Value> {
        self.apply(form.clone(), inputs)
    }
}

impl Op<3> for AdapterForm {
    type Saved = [Tensor; 3];

    fn forward(&self, [weight, left, right]: [&Tensor; 3]) -> Result<(Tensor, [Tensor; 3])> {
        let ([d_out, d_in], [rows, rank], [inner, columns]) = (weight.matrix()?, left.matrix()?, right.matrix()?);
        if (rows, columns, inner) != (d_out, d_in, rank) {
            let shapes = [left.shape(), right.shape(), weight.shape()];
            return Err(misfit(format!("an adapter {:?} · {:?} of {:?}", shapes[0], shapes[1], shapes[2])));
        }
        let mut y = low_rank(left, right);
        self.join(&mut y, weight.host());
        Ok((Tensor::new([d_out, d_in], y), [weight, left, right].map(Tensor::clone)))
    }

    fn backward(self, [weight, left, right]: [Tensor; 3], dy: Tensor, inputs: &mut Inputs) {
        let (d_out, d_in, rank) = (left.shape()[0], right.width(), left.width());
        let dp = self.gradient(dy.host(), weight.host());
        let dp = View::new(&dp, d_out, d_in);
        let (b, a) = (View::new(left.host(), d_out, rank).t(), View::new(right.host(), rank, d_in).t());
        inputs.with(1, |db, accumulate| matmul(db, rank, accumulate, dp, a, Precision::F32));
        inputs.with(2, |da, accumulate| matmul(da, d_in, accumulate, b, dp, Precision::F32));
        if inputs.wants(0) {
            inputs.give(0, self.of_weight(dy, &left, &right));
        }
    }
}

/// B·A.
fn low_rank(left: &Tensor, right: &Tensor) -> Vec<f32> {
    let (d_out, rank, d_in) = (left.shape()[0], left.width(), right.width());
    product(View::new(left.host(), d_out, rank), View::new(right.host(), rank, d_in), Precision::F32)
}

impl AdapterForm {
    /// Makes the adapted weight of the product.
    fn join(&self, product: &mut [f32], weight: &[f32]) {
        match self {
            Self::Added { scale, mask } => {
                multiply(product, *scale);
                if let Some(mask) = mask {
                    apply_mask(product, mask.as_slice());
                }
                add_assign(product, weight);
            }
            Self::Multiplied { offset, scale } => {
                factors(product, *offset, *scale);
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

    /// The gradient of a weight that trains beside its adapter.
    fn of_weight(&self, mut dy: Tensor, left: &Tensor, right: &Tensor) -> Tensor {
        if let Self::Multiplied { offset, scale } = self {
            let mut own = low_rank(left, right);
            factors(&mut own, *offset, *scale);
            multiply_assign(dy.host_mut(), &own);
        }
        dy
    }
}

fn multiply(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// o + s·P.
fn factors(product: &mut [f32], offset: f32, scale: f32) {
    for p in product {
        *p = offset + scale * *p;
    }
}
