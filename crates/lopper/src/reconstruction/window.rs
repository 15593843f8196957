//! What trains together: consecutive halves of consecutive blocks, a single linear layer, or a norm, one segment after another.
//!
//! Only the states between segments are kept from the forward pass. The backward pass computes each segment but the last once more,
//! from the back to the front (Chen et al. 2016, arXiv 1604.06174), so the memory of a window of many blocks is that of one and its boundaries.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::objective::Objective;
use super::trainee::Trainee;
use crate::autograd::{Gradients, RotaryTable, Tape, Value};
use crate::calibration::{Parked, Storage};
use crate::error::Result;
use crate::model::{Block, Linear, LinearRole, NoTap, Norm, Part, Sequences};
use crate::sparsity::Mask;

/// The layers of a segment.
pub enum Layers<'a> {
    /// Halves of a block, in the order of the forward pass.
    Halves(&'a mut Block, &'a [Part]),
    /// One linear layer.
    Linear(&'a mut Linear, LinearRole),
    /// A norm.
    Norm(&'a mut Norm),
}

/// A part of a window whose activations are in memory at one time.
pub struct Segment<'a> {
    /// Its layers; their tensors are replaced.
    pub layers: Layers<'a>,
    /// What is kept, by layer; a layer without a mask was left dense and stays as it is.
    pub masks: &'a BTreeMap<LinearRole, Mask>,
}

/// Layers that train together.
pub struct Window<'a> {
    /// In the order of the forward pass.
    pub segments: Vec<Segment<'a>>,
    /// Angles for the longest sequence.
    pub rotary: &'a RotaryTable,
}

/// What a tensor is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Weight,
    Bias,
    Norm,
}

/// A tensor that may train.
pub(super) struct Place<'a> {
    pub tensor: &'a mut Tensor,
    pub kind: Kind,
    pub mask: Option<&'a Mask>,
}

impl Segment<'_> {
    /// x [tokens, ·] → [tokens, ·].
    fn forward(&self, tape: &mut Tape, x: Value, sequences: &Sequences, rotary: &RotaryTable) -> Result<Value> {
        match &self.layers {
            Layers::Halves(block, parts) => parts
                .iter()
                .try_fold(x, |x, &part| Ok(block.forward_part(part, tape, &x, sequences, rotary, &mut NoTap)?)),
            Layers::Linear(linear, _) => Ok(linear.forward(tape, &x, None)?),
            Layers::Norm(norm) => {
                let weight = tape.value(&norm.weight);
                Ok(tape.rms_norm(&x, &weight, norm.epsilon)?)
            }
        }
    }

    /// Every tensor that may train: of pruned layers, and the norms before them.
    pub(super) fn places(&mut self) -> Vec<Place<'_>> {
        let masks = self.masks;
        let mut places = Vec::new();
        match &mut self.layers {
            Layers::Halves(block, parts) => {
                let Block { attention, mlp } = &mut **block;
                let pruned = |part| parts.contains(&part) && masks.keys().any(|role| role.part() == part);
                if pruned(Part::Attention) {
                    let [q, k, v] = [&mut attention.query, &mut attention.key, &mut attention.value];
                    let roles = [LinearRole::Query, LinearRole::Key, LinearRole::Value, LinearRole::Output];
                    let linears = roles.into_iter().zip([q, k, v, &mut attention.output]);
                    places.extend(linears.flat_map(|(role, linear)| of_linear(linear, masks.get(&role))));
                    places.push(Place { tensor: &mut attention.norm.weight, kind: Kind::Norm, mask: None });
                }
                if pruned(Part::Mlp) {
                    let roles = [LinearRole::Gate, LinearRole::Up, LinearRole::Down];
                    let linears = roles.into_iter().zip([&mut mlp.gate, &mut mlp.up, &mut mlp.down]);
                    places.extend(linears.flat_map(|(role, linear)| of_linear(linear, masks.get(&role))));
                    places.push(Place { tensor: &mut mlp.norm.weight, kind: Kind::Norm, mask: None });
                }
            }
            Layers::Linear(linear, role) => places.extend(of_linear(linear, masks.get(role))),
            Layers::Norm(norm) => places.push(Place { tensor: &mut norm.weight, kind: Kind::Norm, mask: None }),
        }
        places
    }
}

/// Weight and bias of a pruned layer.
fn of_linear<'a>(linear: &'a mut Linear, mask: Option<&'a Mask>) -> Vec<Place<'a>> {
    if mask.is_none() {
        return Vec::new();
    }
    let Linear { weight, bias } = linear;
    let weight = Place { tensor: weight, kind: Kind::Weight, mask };
    let bias = bias.as_mut().map(|tensor| Place { tensor, kind: Kind::Bias, mask: None });
    std::iter::once(weight).chain(bias).collect()
}

impl Window<'_> {
    /// The output of the window as it is, or with what is in training.
    pub(super) fn infer(&self, trainee: &Trainee, x: Tensor, sequences: &Sequences) -> Result<Tensor> {
        self.segments.iter().enumerate().try_fold(x, |x, (index, segment)| {
            let mut tape = trainee.inference(index)?;
            Ok(segment.forward(&mut tape, x.into(), sequences, self.rotary)?.tensor().clone())
        })
    }

    /// Adds the gradients of a loss to `gradients`; returns the loss. It is multiplied by `share`, and by `scale`; absent, this
    /// becomes the inverse of the loss of one sequence.
    pub(super) fn differentiate(
        &self,
        trainee: &Trainee,
        objective: &dyn Objective,
        (x, sequences, indices): (Tensor, &Sequences, &[usize]),
        scale: &mut Option<f32>,
        share: f32,
        gradients: &mut Gradients,
    ) -> Result<f64> {
        let last = self.segments.len() - 1;
        let mut states = vec![x];
        for (index, segment) in self.segments[..last].iter().enumerate() {
            let mut tape = trainee.tape(index, false)?;
            let y = segment.forward(&mut tape, (&states[index]).into(), sequences, self.rotary)?;
            states.push(y.tensor().clone());
        }
        let (mut tape, y) = self.record(trainee, last, &states[last], sequences)?;
        let scale = if let Some(scale) = *scale {
            scale
        } else {
            let before = objective.loss(&mut Tape::inference(tape.precision()), &y.tensor().into(), indices, 1.0)?;
            let one = before.tensor().to_scalar::<f32>()? / indices.len() as f32;
            *scale.insert(one.max(f32::MIN_POSITIVE).recip().min(1e30))
        };
        let loss = objective.loss(&mut tape, &y, indices, scale * share)?;
        let value = f64::from(loss.tensor().to_scalar::<f32>()?);
        drop(y);
        tape.backward(&loss, gradients)?;
        for index in (0..last).rev() {
            let state = states.pop().map(|state| gradients.take(&state));
            let Some(gradient) = state.flatten() else { break };
            let (tape, y) = self.record(trainee, index, &states[index], sequences)?;
            if y.is_tracked() {
                tape.backward_from(&y, gradient, gradients)?;
            }
        }
        Ok(value)
    }

    /// A segment's forward pass on a tape of its own; what comes in is a leaf unless it is the window's input.
    fn record(&self, trainee: &Trainee, index: usize, x: &Tensor, sequences: &Sequences) -> Result<(Tape, Value)> {
        let mut tape = trainee.tape(index, true)?;
        let x = if index > 0 { tape.leaf(x) } else { x.into() };
        let y = self.segments[index].forward(&mut tape, x, sequences, self.rotary)?;
        Ok((tape, y))
    }

    /// Every tensor that may train.
    pub(super) fn places(&mut self) -> Vec<Place<'_>> {
        self.segments.iter_mut().flat_map(Segment::places).collect()
    }

    /// Halves of blocks that follow one another; at least 1.
    pub(super) fn depth(&self) -> usize {
        let halves = |segment: &Segment| if let Layers::Halves(_, parts) = &segment.layers { parts.len() } else { 0 };
        self.segments.iter().map(halves).sum::<usize>().max(1)
    }

    /// Whether any weight is pruned.
    pub(super) fn is_pruned(&mut self) -> bool {
        self.places().iter().any(|place| place.mask.is_some_and(|mask| mask.pruned() > 0))
    }

    /// Whether no tensor holds a NaN or an infinity.
    pub(super) fn is_finite(&mut self) -> Result<bool> {
        for place in self.places() {
            // NaN and infinities survive a sum of absolute values
            if !place.tensor.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every tensor that may train, to fall back on. Training replaces tensors and does not write to them.
    pub(super) fn snapshot(&mut self, storage: &Storage) -> Result<Parked> {
        Parked::new(self.places().into_iter().map(|place| place.tensor.clone()).collect(), storage)
    }

    /// Puts a snapshot back.
    pub(super) fn restore(&mut self, snapshot: &Parked) -> Result<()> {
        for (place, saved) in self.places().into_iter().zip(snapshot.tensors()) {
            *place.tensor = saved?;
        }
        Ok(())
    }
}
