//! The hidden states of a run by their names, and how they move.

use std::collections::BTreeMap;

use lopper_kernels::Precision;

use crate::autograd::{RotaryTable, Tape};
use crate::calibration::{HiddenStates, Of, SeenInputs};
use crate::error::{Error, Result};
use crate::model::{Block, BranchId, Context, Decoder, NoTap, Sequences};
use crate::plan::Plan;
use crate::schedule::{State, batch};
use crate::tensor::Tensor;

/// How hidden states go through layers.
pub(super) struct Passage {
    /// Sequences per forward pass.
    pub batch: usize,
    pub precision: Precision,
    /// Angles for the calibration sequences.
    pub rotary: Vec<RotaryTable>,
}

impl Passage {
    pub fn new(plan: &Plan, decoder: &Decoder) -> Self {
        let length = plan.calibration_seqlen(decoder.spec());
        let precision = plan.compute.dtype.precision();
        Self { batch: batch(length), precision, rotary: decoder.rotary(length) }
    }

    pub fn context<'a>(&'a self, sequences: &'a Sequences) -> Context<'a> {
        Context { sequences, rotary: &self.rotary }
    }

    /// Moves hidden states through a stage of a block.
    pub fn stage(&self, states: &mut HiddenStates, block: &Block, stage: usize) -> Result<()> {
        let tensors = block.constants();
        let forward = |x: &Tensor, sequences: &Sequences| {
            let mut tape = Tape::new(self.precision);
            let y = block.stage(stage, &tensors, &mut tape, &x.into(), self.context(sequences), &mut NoTap)?;
            Ok((y.tensor().clone(), ()))
        };
        states.advance(self.batch, forward, |_, _, ()| Ok(()))
    }

    /// Moves hidden states through a block without rounding them between its stages.
    pub fn whole_block(&self, states: &mut HiddenStates, block: &Block) -> Result<()> {
        let forward = |x: &Tensor, sequences: &Sequences| {
            let mut tape = Tape::new(self.precision);
            let y = block.forward(&mut tape, &x.into(), self.context(sequences), &mut NoTap)?;
            Ok((y.tensor().clone(), ()))
        };
        states.advance(self.batch, forward, |_, _, ()| Ok(()))
    }

    /// What stands between the last block and the head makes of hidden states.
    pub fn finish(&self, states: &HiddenStates, finish: &Block) -> Result<HiddenStates> {
        let width = finish.spec.stages[0].branches[0].program.output_width();
        let mut finished = states.with_width(width);
        let forward = |x: &Tensor, sequences: &Sequences| {
            let mut tape = Tape::new(self.precision);
            Ok(finish.forward(&mut tape, &x.into(), self.context(sequences), &mut NoTap)?.tensor().clone())
        };
        states.for_each(states.len(), self.batch, forward, |indices, sequences, y| {
            finished.set(indices, sequences, &y)
        })?;
        Ok(finished)
    }

    /// Moves hidden states through all stages of a block, one after the other: in between they are rounded as they are kept.
    pub fn block(&self, states: &mut HiddenStates, block: &Block) -> Result<()> {
        (0..block.spec.stages.len()).try_for_each(|stage| self.stage(states, block, stage))
    }

    /// What a linear layer of a branch reads when the branch reads `states`.
    pub fn capture(
        &self,
        states: &HiddenStates,
        block: &Block,
        branch: BranchId,
        linear: usize,
    ) -> Result<HiddenStates> {
        let tensors = block.constants();
        let mut captured = states.with_width(block.spec.linears[linear].shape[1]);
        let forward = |x: &Tensor, sequences: &Sequences| {
            let (mut tape, mut seen) = (Tape::new(self.precision), SeenInputs::default());
            let mut tap = Of { linears: &[linear], seen: &mut seen, every_token: false };
            block.show(branch, &tensors, &mut tape, &x.into(), self.context(sequences), &mut tap)?;
            Ok(seen.take(linear, sequences.tokens()))
        };
        states.for_each(states.len(), self.batch, forward, |indices, sequences, input| {
            input.map_or(Ok(()), |input| captured.set(indices, sequences, &input))
        })?;
        Ok(captured)
    }

    /// What a linear layer makes of `states`.
    pub fn linear(&self, states: &HiddenStates, block: &Block, linear: usize) -> Result<HiddenStates> {
        let tensors = block.constants();
        let mut outputs = states.with_width(block.spec.linears[linear].shape[0]);
        let forward = |x: &Tensor, _: &Sequences| {
            Ok(block.linear(linear, &tensors, &mut Tape::new(self.precision), &x.into())?.tensor().clone())
        };
        states
            .for_each(states.len(), self.batch, forward, |indices, sequences, y| outputs.set(indices, sequences, &y))?;
        Ok(outputs)
    }
}

/// Hidden states by name.
#[derive(Default)]
pub(super) struct States(BTreeMap<State, HiddenStates>);

impl States {
    /// These states.
    ///
    /// # Errors
    /// If no step has made them: a defect of the schedule.
    pub fn get(&self, state: State) -> Result<&HiddenStates> {
        self.0.get(&state).ok_or_else(|| missing(state))
    }

    /// The same if they are there.
    pub fn find(&self, state: State) -> Option<&HiddenStates> {
        self.0.get(&state)
    }

    /// The same, to be moved on.
    pub fn get_mut(&mut self, state: State) -> Result<&mut HiddenStates> {
        self.0.get_mut(&state).ok_or_else(|| missing(state))
    }

    pub fn set(&mut self, state: State, states: HiddenStates) {
        self.0.insert(state, states);
    }

    /// Lets `to` be what `from` is, and forgets `from`.
    pub fn rename(&mut self, from: State, to: State) -> Result<()> {
        let states = self.forget(from).ok_or_else(|| missing(from))?;
        self.set(to, states);
        Ok(())
    }

    pub fn forget(&mut self, state: State) -> Option<HiddenStates> {
        self.0.remove(&state)
    }
}

fn missing(state: State) -> Error {
    Error::Numeric {
        problem: format!("no step has made the hidden states {state:?}"),
        hint: Some("this is a defect of lopper; nothing was written".into()),
    }
}
