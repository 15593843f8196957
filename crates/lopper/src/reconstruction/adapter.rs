//! A low-rank adapter of one matrix: where it starts, how fast its factors move, and what it is merged to.
//!
//! Every adapter starts at the weight as it is. The rates are such that a first step changes the merged weight by about as much as a
//! step of the weight itself would, whatever rank and width: an entry of `ΔB·A` is a sum of `rank` products, so its root mean square is
//! `√rank · |ΔB| · rms(A)`. ScaleLoRA's source starts from equal entries, which get equal gradients and stay of rank one; here the
//! first component is all ones and the others start at zero.

use super::{AdapterKind, Settings};
use crate::autograd::optimizer::Optimizer;
use crate::autograd::{AdapterForm, Tape, Value};
use crate::error::Result;
use crate::linalg::Uniform;
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// The factors of one matrix, in training.
pub(super) struct Adapter {
    /// Place of the weight among the tensors of its block.
    pub tensor: usize,
    /// Key of B [d_out, rank].
    left: usize,
    /// Key of A [rank, d_in].
    right: usize,
    /// While it trains.
    form: AdapterForm,
    mask: Mask,
}

impl Adapter {
    /// Of the weight [d_out, d_in] in the place `tensor`, whose entries have the root mean square `size`.
    pub fn new(
        tensor: usize,
        weight: &Tensor,
        mask: &Mask,
        size: f32,
        kind: AdapterKind,
        settings: &Settings,
        optimizer: &mut Optimizer,
    ) -> Result<Self> {
        let ([d_out, d_in], rank) = (weight.matrix()?, settings.rank);
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
        let reach = (rank as f32).sqrt() * spread;
        let rate = if added { size / reach } else { reach.recip() };
        let left = optimizer.add(Tensor::new([d_out, rank], left), None, rate);
        let right = optimizer.add(Tensor::new([rank, d_in], right), None, spread);
        Ok(Self { tensor, left, right, form, mask: mask.clone() })
    }

    /// The adapted weight on a tape; the factors are leaves if it `records`.
    pub fn adapted(&self, weight: &Value, optimizer: &Optimizer, tape: &mut Tape, records: bool) -> Result<Value> {
        let [left, right] = [self.left, self.right].map(|key| {
            let tensor = optimizer.tensor(key);
            if records { tape.leaf(key, tensor) } else { tensor.into() }
        });
        tape.adapted([weight, &left, &right], &self.form)
    }

    /// The weight with its adapter; zero where the mask says so.
    pub fn merged(&self, weight: &Tensor, optimizer: &Optimizer) -> Result<Tensor> {
        let values = [weight, optimizer.tensor(self.left), optimizer.tensor(self.right)].map(Value::from);
        let form = match &self.form {
            AdapterForm::Added { scale, .. } => AdapterForm::Added { scale: *scale, mask: Some(self.mask.clone()) },
            multiplied @ AdapterForm::Multiplied { .. } => multiplied.clone(),
        };
        let merged = Tape::new(lopper_kernels::Precision::F32).adapted(values.each_ref(), &form)?;
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
