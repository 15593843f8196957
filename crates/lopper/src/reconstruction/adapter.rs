//! A low-rank adapter of one matrix: where it starts, how fast its factors move, and what it is merged to.
//!
//! Every adapter starts at the weight as it is. The rates are such that a first step changes the merged weight by about as much as a
//! step of the weight itself would, whatever rank and width: an entry of `ΔB·A` is a sum of `rank` products, so its root mean square is
//! `√rank · |ΔB| · rms(A)`. ScaleLoRA's source starts from equal entries, which get equal gradients and stay of rank one; here the
//! first component is all ones and the others start at zero.

use candle_core::{Result, Tensor, Var};

use super::{AdapterKind, Settings};
use crate::autograd::{AdapterForm, Tape};
use crate::linalg::Uniform;
use crate::sparsity::Mask;

/// The factors of one matrix.
pub(super) struct Adapter {
    /// The weight it belongs to, [d_out, d_in].
    pub weight: Tensor,
    /// B [d_out, rank], and the factor of its learning rate.
    pub left: (Var, f32),
    /// A [rank, d_in], and the factor of its learning rate.
    pub right: (Var, f32),
    /// While it trains.
    form: AdapterForm,
    mask: Mask,
}

impl Adapter {
    /// Of a weight whose entries have the root mean square `size`.
    pub fn new(weight: &Tensor, mask: &Mask, size: f32, kind: AdapterKind, settings: &Settings) -> Result<Self> {
        let ((d_out, d_in), rank) = (weight.dims2()?, settings.rank);
        let scale = settings.alpha / rank as f32;
        let (mut left, form) = (vec![0.0; d_out * rank], form(kind, scale, mask));
        let added = matches!(form, AdapterForm::Added { .. });
        let spread = if added { (d_in as f32).sqrt().recip() } else { 1.0 };
        let bound = 3f32.sqrt() * spread;
        let mut right: Vec<f32> = Uniform::new(settings.seed).take(rank * d_in).map(|x| bound * x).collect();
        if kind == AdapterKind::ScaleLora {
            left.iter_mut().step_by(rank).for_each(|b| *b = 1.0);
            right[..d_in].fill(1.0);
        }
        let variable = |data: Vec<f32>, shape: (usize, usize)| Var::from_vec(data, shape, weight.device());
        let reach = (rank as f32).sqrt() * spread;
        Ok(Self {
            weight: weight.clone(),
            left: (variable(left, (d_out, rank))?, if added { size / reach } else { reach.recip() }),
            right: (variable(right, (rank, d_in))?, spread),
            form,
            mask: mask.clone(),
        })
    }

    /// Lets the tape read the adapted weight where the weight is asked for.
    pub fn bind(&self, tape: &mut Tape) -> Result<()> {
        let [weight, left, right] = [&self.weight, self.left.0.as_tensor(), self.right.0.as_tensor()];
        let adapted = {
            let values = [tape.value(weight), tape.value(left), tape.value(right)];
            tape.adapted(values.each_ref(), &self.form)?
        };
        tape.bind(weight, adapted);
        Ok(())
    }

    /// The weight with its adapter; zero where the mask says so.
    pub fn merged(&self) -> Result<Tensor> {
        let values = [&self.weight, self.left.0.as_tensor(), self.right.0.as_tensor()].map(Into::into);
        let form = match &self.form {
            AdapterForm::Added { scale, .. } => AdapterForm::Added { scale: *scale, mask: Some(self.mask.clone()) },
            multiplied @ AdapterForm::Multiplied { .. } => multiplied.clone(),
        };
        let merged = Tape::inference(lopper_kernels::Precision::F32).adapted(values.each_ref(), &form)?;
        Ok(merged.tensor().clone())
    }
}

fn form(kind: AdapterKind, scale: f32, mask: &Mask) -> AdapterForm {
    match kind {
        AdapterKind::Lora => AdapterForm::Added { scale, mask: None },
        AdapterKind::MaskLora => AdapterForm::Added { scale, mask: Some(mask.clone()) },
        AdapterKind::ScaleLora => AdapterForm::Multiplied { offset: 0.0, scale: 1.0 },
        AdapterKind::Spp => AdapterForm::Multiplied { offset: 1.0, scale },
    }
}
