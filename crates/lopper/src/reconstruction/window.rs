//! What trains: some halves of a block, with their masks.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};

use crate::autograd::optimizer::AdamW;
use crate::autograd::{RotaryTable, Tape, Value};
use crate::model::{Block, LinearRole, NoTap, Part, Sequences};
use crate::sparsity::Mask;

/// Consecutive halves of one block, trained together.
pub struct Window<'a> {
    /// The block they belong to; its weights are replaced.
    pub block: &'a mut Block,
    /// Which halves, in the order of the forward pass.
    pub parts: &'a [Part],
    /// What is kept, by layer; a layer without a mask was left dense and stays as it is.
    pub masks: &'a BTreeMap<LinearRole, Mask>,
    /// Angles for the longest sequence.
    pub rotary: &'a RotaryTable,
}

impl Window<'_> {
    /// x [tokens, hidden] → [tokens, hidden].
    pub(super) fn forward(&self, tape: &mut Tape, x: &Tensor, sequences: &Sequences) -> Result<Value> {
        let mut x = Value::from(x);
        for &part in self.parts {
            x = self.block.forward_part(part, tape, &x, sequences, self.rotary, &mut NoTap)?;
        }
        Ok(x)
    }

    /// Every tensor of the window that may train, with its mask. Norms come last, and only if they train.
    fn tensors(&mut self, train_norms: bool) -> Vec<(&mut Tensor, Option<Mask>)> {
        let Block { attention, mlp } = &mut *self.block;
        let mut tensors = Vec::new();
        let mut linears = vec![];
        let mut norms = vec![];
        if self.parts.contains(&Part::Attention) {
            linears.push((LinearRole::Query, &mut attention.query));
            linears.push((LinearRole::Key, &mut attention.key));
            linears.push((LinearRole::Value, &mut attention.value));
            linears.push((LinearRole::Output, &mut attention.output));
            norms.push(&mut attention.norm.weight);
        }
        if self.parts.contains(&Part::Mlp) {
            linears.push((LinearRole::Gate, &mut mlp.gate));
            linears.push((LinearRole::Up, &mut mlp.up));
            linears.push((LinearRole::Down, &mut mlp.down));
            norms.push(&mut mlp.norm.weight);
        }
        for (role, linear) in linears {
            let Some(mask) = self.masks.get(&role) else { continue };
            tensors.push((&mut linear.weight, Some(mask.clone())));
            tensors.extend(linear.bias.as_mut().map(|bias| (bias, None)));
        }
        if train_norms {
            tensors.extend(norms.into_iter().map(|norm| (norm, None)));
        }
        tensors
    }

    /// Makes the window's tensors variables of a new optimiser. Each tensor's learning rate is relative to the root mean
    /// square of its non-zero entries, so that one rate fits layers of any scale.
    pub(super) fn optimizer(&mut self, train_norms: bool, weight_decay: f32) -> Result<AdamW> {
        let mut optimizer = AdamW::new(weight_decay);
        for (tensor, mask) in self.tensors(train_norms) {
            let variable = Var::from_tensor(&tensor.copy()?)?;
            *tensor = variable.as_tensor().clone();
            let scale = root_mean_square(tensor)?;
            optimizer.add(&variable, mask, if scale > 0.0 { scale } else { 1e-2 })?;
        }
        Ok(optimizer)
    }

    /// Whether any weight is pruned.
    pub(super) fn is_pruned(&mut self) -> bool {
        self.tensors(false).iter().any(|(_, mask)| mask.as_ref().is_some_and(|mask| mask.pruned() > 0))
    }

    /// Whether no tensor holds a NaN or an infinity.
    pub(super) fn is_finite(&mut self) -> Result<bool> {
        for (tensor, _) in self.tensors(true) {
            // NaN and infinities survive a sum of absolute values
            if !tensor.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A copy of every tensor that may train.
    pub(super) fn snapshot(&mut self) -> Result<Vec<Tensor>> {
        self.tensors(true).into_iter().map(|(tensor, _)| tensor.copy()).collect()
    }

    /// Puts a snapshot back.
    pub(super) fn restore(&mut self, snapshot: Vec<Tensor>) {
        for ((tensor, _), saved) in self.tensors(true).into_iter().zip(snapshot) {
            *tensor = saved;
        }
    }
}

/// Of the non-zero entries.
fn root_mean_square(tensor: &Tensor) -> Result<f32> {
    let tensor = tensor.flatten_all()?.to_device(&candle_core::Device::Cpu)?;
    let data = tensor.to_vec1::<f32>()?;
    let (sum, count) = data
        .iter()
        .filter(|&&w| w != 0.0)
        .fold((0.0, 0usize), |(sum, count), &w| (sum + f64::from(w) * f64::from(w), count + 1));
    Ok((sum / count.max(1) as f64).sqrt() as f32)
}
