//! The hidden states of a run: what layers are shown, what windows should give, and how both move on.

use std::ops::Range;

use candle_core::Tensor;
use lopper_kernels::Precision;

use crate::autograd::{RotaryTable, Tape, Value};
use crate::calibration::HiddenStates;
use crate::checkpoint::Rewrite;
use crate::error::{Error, Result};
use crate::model::{Block, Decoder, LinearId, LinearRole, NoTap, Part, Sequences, Tap};
use crate::plan::Plan;
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::{Schedule, batch};

use super::block_state::BlockState;
use super::compress::Compression;
use super::job::Job;

/// Hidden states between the steps of a window.
pub(super) struct Streams {
    /// What statistics and windows read.
    pub inputs: HiddenStates,
    /// What the window at hand reads, where `inputs` have gone ahead of it.
    pub start: Option<HiddenStates>,
    /// The dense model's, when `inputs` are the pruned one's; they run ahead as targets.
    pub dense: Option<HiddenStates>,
    /// What the dense half at hand makes of `inputs`, when those are the dense model's.
    pub next: Option<HiddenStates>,
    /// What the matrices at hand read, where matrices train one by one.
    pub captured: Option<Captured>,
}

/// The input of some linear layers.
pub(super) struct Captured {
    /// The first layer that reads it.
    pub role: LinearRole,
    /// In the model that is trained.
    pub inputs: HiddenStates,
    /// In the dense model, if that is another.
    pub dense: Option<HiddenStates>,
}

/// Keeps the input of one layer.
struct CaptureTap {
    role: LinearRole,
    input: Option<Tensor>,
}

impl Tap for CaptureTap {
    fn linear_input(&mut self, roles: &[LinearRole], input: &Tensor) -> candle_core::Result<()> {
        if roles.contains(&self.role) {
            self.input = Some(input.clone());
        }
        Ok(())
    }
}

/// Moves hidden states through parts of a block.
pub(super) fn through(
    states: &mut HiddenStates,
    (block, parts): (&Block, &[Part]),
    batch: usize,
    (precision, rotary): (Precision, &RotaryTable),
) -> Result<()> {
    let forward = |x: &Tensor, sequences: &Sequences| {
        let y = parts.iter().try_fold(Value::from(x), |x, &part| {
            block.forward_part(part, &mut Tape::inference(precision), &x, sequences, rotary, &mut NoTap)
        })?;
        Ok((y.tensor().clone(), ()))
    };
    states.advance(batch, forward, |_, ()| Ok(()))
}

impl Streams {
    /// Between two windows.
    pub fn new(inputs: HiddenStates, dense: Option<HiddenStates>) -> Self {
        Self { inputs, start: None, dense, next: None, captured: None }
    }

    /// Before the first block.
    pub fn embed(job: &Job, plan: &Plan, decoder: &Decoder, keeps_dense: bool) -> Result<Self> {
        let embedded = HiddenStates::embed(decoder, &job.samples, plan.compute.hidden_states, &job.storage)?;
        Ok(Self::new(embedded.clone(), keeps_dense.then_some(embedded)))
    }

    /// After some blocks that are finished, as `rewrite` has them.
    pub fn after(
        mut self,
        blocks: Range<usize>,
        job: &mut Job,
        plan: &Plan,
        (decoder, rewrite): (&Decoder, &Rewrite),
        schedule: &Schedule,
    ) -> Result<Self> {
        if blocks.is_empty() {
            return Ok(self);
        }
        job.observer.event(Event::Stage { name: "running finished blocks once more" });
        let (length, precision) = (plan.calibration_seqlen(decoder.spec()), plan.compute.dtype.precision());
        let (batch, rotary) = (batch(length), decoder.rotary(length)?);
        job.timings.measure(Stage::Advance, || {
            for index in blocks {
                let dense = decoder.load_block(index)?;
                let shown =
                    if schedule.dense_inputs { dense.clone() } else { written(&dense, index, decoder, rewrite)? };
                // half by half, as they came here the first time: they are rounded in between
                for part in [Part::Attention, Part::Mlp] {
                    through(&mut self.inputs, (&shown, &[part]), batch, (precision, &rotary))?;
                    if let Some(states) = &mut self.dense {
                        through(states, (&dense, &[part]), batch, (precision, &rotary))?;
                    }
                }
            }
            Ok(self)
        })
    }
}

/// A block as it is in the files that are being written.
fn written(dense: &Block, index: usize, decoder: &Decoder, rewrite: &Rewrite) -> Result<Block> {
    let mut block = dense.clone();
    let replace = |name: &str, tensor: &mut Tensor| {
        if let Some(replaced) = rewrite.get(name)? {
            *tensor = replaced.to_device(decoder.device())?;
        }
        Ok::<_, Error>(())
    };
    for role in LinearRole::ALL {
        let (id, linear) = (LinearId { block: index, role }, block.linear_mut(role));
        replace(&Decoder::weight_name(id), &mut linear.weight)?;
        linear.bias.iter_mut().try_for_each(|bias| replace(&Decoder::bias_name(id), bias))?;
    }
    for part in [Part::Attention, Part::Mlp] {
        replace(&Decoder::norm_name(index, part), block.norm_mut(part))?;
    }
    Ok(block)
}

impl Compression<'_, '_> {
    /// Targets become what the dense window makes of the states that this window reads.
    pub fn restart(&mut self) {
        if let Some(streams) = &mut self.streams {
            streams.dense = None;
            streams.dense = Some(streams.inputs.clone());
        }
    }

    /// Moves the targets through a half of the dense model.
    pub fn teach(&mut self, state: &BlockState, part: Part) -> Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        if let Some(dense) = &mut streams.dense {
            self.move_through(&state.dense, part, dense)?;
        }
        self.streams = Some(streams);
        Ok(())
    }

    /// Moves the states that statistics are taken of through a half that has not been trained yet.
    pub fn preview(&mut self, state: &BlockState, part: Part) -> Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        if let Some(next) = streams.next.take() {
            let before = std::mem::replace(&mut streams.inputs, next);
            streams.start.get_or_insert(before);
        } else {
            streams.start.get_or_insert_with(|| streams.inputs.clone());
            self.move_through(&state.rounded(self.decoder, part)?, part, &mut streams.inputs)?;
        }
        self.streams = Some(streams);
        Ok(())
    }

    /// Rounds the half to what the files will hold, and moves the hidden states through it.
    pub fn advance(&mut self, state: &mut BlockState, part: Part) -> Result<()> {
        let Some(mut streams) = self.streams.take() else { return Ok(()) };
        let before = streams.start.take();
        streams.captured = None;
        if let Some(next) = streams.next.take() {
            streams.inputs = next;
        } else {
            streams.inputs = before.unwrap_or(streams.inputs);
            state.round_to_storage(self.decoder, part)?;
            self.move_through(&state.pruned, part, &mut streams.inputs)?;
        }
        self.streams = Some(streams);
        Ok(())
    }

    fn move_through(&mut self, block: &Block, part: Part, states: &mut HiddenStates) -> Result<()> {
        let (batch, precision, rotary) = (self.batch(), self.plan.compute.dtype.precision(), &self.rotary);
        self.job.timings.measure(Stage::Advance, || through(states, (block, &[part]), batch, (precision, rotary)))
    }

    /// What a layer of a block reads when the block reads `states`.
    pub fn capture(&mut self, block: &Block, role: LinearRole, states: &HiddenStates) -> Result<HiddenStates> {
        let (batch, precision, rotary) = (self.batch(), self.plan.compute.dtype.precision(), &self.rotary);
        let mut captured = states.with_width(self.decoder.spec().shape(role).1);
        self.job.timings.measure(Stage::Advance, || {
            let forward = |x: &Tensor, sequences: &Sequences| {
                let (mut tape, mut tap) = (Tape::inference(precision), CaptureTap { role, input: None });
                block.forward_part(role.part(), &mut tape, &x.into(), sequences, rotary, &mut tap)?;
                Ok(tap.input)
            };
            states.for_each(batch, forward, |indices, sequences, input| {
                input.map_or(Ok(()), |input| captured.set(indices, sequences, &input))
            })
        })?;
        Ok(captured)
    }
}
