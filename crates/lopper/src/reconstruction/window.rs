//! What trains together: consecutive stages of consecutive blocks, or a single linear layer, one segment after another.
//!
//! Only the states between segments are kept from the forward pass. The backward pass computes each segment but the last once more,
//! from the back to the front (Chen et al. 2016, arXiv 1604.06174), so the memory of a window of many blocks is that of one and its boundaries.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::objective::Objective;
use super::trainee::Trainee;
use crate::autograd::{Gradients, RotaryTable, Tape, Value};
use crate::calibration::{Parked, Storage};
use crate::error::Result;
use crate::model::{Block, BranchId, Context, Kind, NoTap, Sequences};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// Key of the states that a segment reads, on its tape.
const STATES: usize = usize::MAX;

/// The layers of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Stages of a block; the branches that train.
    Stages(Range<usize>, Vec<BranchId>),
    /// One linear layer.
    Linear(usize),
}

/// A part of a window whose activations are in memory at one time.
pub struct Segment<'a> {
    /// Where its layers are; their tensors are replaced.
    pub block: &'a mut Block,
    /// Its layers.
    pub layers: Layers,
    /// What is kept, by linear layer; a layer without a mask was left dense and stays as it is.
    pub masks: &'a BTreeMap<usize, Mask>,
}

/// Layers that train together.
pub struct Window<'a> {
    /// In the order of the forward pass.
    pub segments: Vec<Segment<'a>>,
    /// Angles for the longest sequence.
    pub rotary: &'a [RotaryTable],
    /// Whether it is shown, or should give, other states than its dense layers are: then it trains though nothing of it is pruned.
    pub drifts: bool,
}

/// A tensor that may train.
pub(super) struct Place<'a> {
    /// Among the tensors of the block.
    pub tensor: usize,
    pub kind: Kind,
    pub mask: Option<&'a Mask>,
}

impl<'a> Segment<'a> {
    /// x [tokens, ·] → [tokens, ·], with the tensors of the block as given.
    fn forward(&self, tape: &mut Tape, tensors: &[Value], x: Value, context: Context) -> Result<Value> {
        match &self.layers {
            Layers::Stages(stages, _) => {
                stages.clone().try_fold(x, |x, stage| self.block.stage(stage, tensors, tape, &x, context, &mut NoTap))
            }
            Layers::Linear(linear) => self.block.linear(*linear, tensors, tape, &x),
        }
    }

    /// Every tensor that may train: of pruned layers, and the norms of their branches.
    pub(super) fn places(&self) -> Vec<Place<'a>> {
        let mut places = Vec::new();
        match &self.layers {
            Layers::Stages(_, branches) => {
                for branch in branches.iter().map(|&branch| self.block.spec.branch(branch)) {
                    branch.linears.iter().for_each(|&linear| places.extend(self.of_linear(linear)));
                    let kind = |tensor: usize| self.block.spec.tensors[tensor].kind;
                    places.extend(branch.others.iter().map(|&tensor| Place { tensor, kind: kind(tensor), mask: None }));
                }
            }
            Layers::Linear(linear) => places.extend(self.of_linear(*linear)),
        }
        places
    }

    /// Weight and bias of a pruned layer.
    fn of_linear(&self, linear: usize) -> impl Iterator<Item = Place<'a>> + use<'a> {
        let spec = &self.block.spec.linears[linear];
        let mask = self.masks.get(&linear);
        let weight = mask.map(|mask| Place { tensor: spec.weight, kind: Kind::Weight, mask: Some(mask) });
        let bias = spec.bias.filter(|_| mask.is_some());
        weight.into_iter().chain(bias.map(|tensor| Place { tensor, kind: Kind::Bias, mask: None }))
    }
}

impl Window<'_> {
    /// The output of the window as it is, or with what is in training.
    pub(super) fn infer(&self, trainee: &Trainee, x: Tensor, sequences: &Sequences) -> Result<Tensor> {
        self.segments.iter().enumerate().try_fold(x, |x, (index, segment)| {
            let (mut tape, tensors) = trainee.inference(index, segment.block)?;
            Ok(segment.forward(&mut tape, &tensors, x.into(), self.context(sequences))?.tensor().clone())
        })
    }

    fn context<'c>(&'c self, sequences: &'c Sequences) -> Context<'c> {
        Context { sequences, rotary: self.rotary }
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
            let (mut tape, tensors) = trainee.training(index, segment.block, false)?;
            let y = segment.forward(&mut tape, &tensors, (&states[index]).into(), self.context(sequences))?;
            states.push(y.tensor().clone());
        }
        let (mut tape, y) = self.record(trainee, last, &states[last], sequences)?;
        let scale = if let Some(scale) = *scale {
            scale
        } else {
            let before = objective.loss(&mut Tape::new(tape.precision()), &y.tensor().into(), indices, 1.0)?;
            let one = before.tensor().item()? / indices.len() as f32;
            *scale.insert(one.max(f32::MIN_POSITIVE).recip().min(1e30))
        };
        let loss = objective.loss(&mut tape, &y, indices, scale * share)?;
        let value = f64::from(loss.tensor().item()?);
        drop(y);
        tape.backward(&loss, gradients)?;
        for index in (0..last).rev() {
            states.pop();
            let Some(gradient) = gradients.take(STATES) else { break };
            let (tape, y) = self.record(trainee, index, &states[index], sequences)?;
            if y.is_tracked() {
                tape.backward_from(&y, gradient, gradients)?;
            }
        }
        // of a segment whose window nothing stands before
        gradients.take(STATES);
        Ok(value)
    }

    /// A segment's forward pass on a tape of its own; what comes in is a leaf unless it is the window's input.
    fn record(&self, trainee: &Trainee, index: usize, x: &Tensor, sequences: &Sequences) -> Result<(Tape, Value)> {
        let segment = &self.segments[index];
        let (mut tape, tensors) = trainee.training(index, segment.block, true)?;
        let x = if index > 0 { tape.leaf(STATES, x) } else { x.into() };
        let y = segment.forward(&mut tape, &tensors, x, self.context(sequences))?;
        Ok((tape, y))
    }

    /// Stages that follow one another; at least 1.
    pub(super) fn depth(&self) -> usize {
        let stages = |segment: &Segment| match &segment.layers {
            Layers::Stages(stages, _) if segment.block.spec.stages.iter().all(|stage| stage.residual) => stages.len(),
            Layers::Stages(..) | Layers::Linear(_) => 0,
        };
        self.segments.iter().map(stages).sum::<usize>().max(1)
    }

    /// Whether anything is missing from what it gives.
    pub(super) fn lacks(&self) -> bool {
        let pruned = |place: &Place| place.mask.is_some_and(|mask| mask.pruned() > 0);
        self.drifts || self.segments.iter().any(|segment| segment.places().iter().any(pruned))
    }

    /// Whether no tensor that may train holds a NaN or an infinity.
    pub(super) fn is_finite(&self) -> bool {
        let finite =
            |segment: &Segment| segment.places().iter().all(|place| segment.block.tensors[place.tensor].is_finite());
        self.segments.iter().all(finite)
    }

    /// Every tensor that may train, to fall back on. Training moves away from what it shares with them.
    pub(super) fn snapshot(&self, storage: &Storage) -> Result<Parked> {
        let of = |segment: &Segment| {
            let places = segment.places().into_iter();
            places.map(|place| segment.block.tensors[place.tensor].clone()).collect::<Vec<Tensor>>()
        };
        Parked::new(self.segments.iter().flat_map(of).collect(), storage)
    }

    /// Every tensor that may train goes this share of the way from one snapshot to another.
    pub(super) fn blend(&mut self, from: &Parked, to: &Parked, share: f32) -> Result<()> {
        let mut ends = from.tensors().zip(to.tensors());
        for segment in &mut self.segments {
            for (place, (from, to)) in segment.places().into_iter().zip(ends.by_ref()) {
                let (mut between, to) = (from?, to?);
                let numbers = between.host_mut().par_iter_mut().zip(to.host());
                // exact at either end, and what did not move stays to the bit
                numbers.filter(|(from, to)| from.to_bits() != to.to_bits()).for_each(|(from, to)| {
                    *from = (1.0 - share) * *from + share * to;
                });
                segment.block.tensors[place.tensor] = between;
            }
        }
        Ok(())
    }

    /// Puts a snapshot back.
    pub(super) fn restore(&mut self, snapshot: &Parked) -> Result<()> {
        let mut saved = snapshot.tensors();
        for segment in &mut self.segments {
            for (place, saved) in segment.places().into_iter().zip(saved.by_ref()) {
                segment.block.tensors[place.tensor] = saved?;
            }
        }
        Ok(())
    }
}
