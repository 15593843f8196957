//! The whole pruned model trained at once, as it stands in the files: the baseline that windows are compared with, or what follows them.
//!
//! What is zero stays zero. Embedding and head do not train. All weights are in memory with their training state, of the activations
//! those of one block and the states between blocks.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::autograd::Tape;
use crate::calibration::HiddenStates;
use crate::checkpoint::Rewrite;
use crate::error::Result;
use crate::method::to_vec;
use crate::model::{Decoder, Norm, Part, Sequences};
use crate::plan::{Plan, RetrainingObjective};
use crate::progress::Event;
use crate::reconstruction::{Goal, Layers, Outcome, Prediction, Segment, Window, WindowData, reconstruct};
use crate::report::{Stage, WindowFacts};
use crate::schedule::batch;
use crate::sparsity::Mask;

use super::block_state::BlockState;
use super::compress::Record;
use super::job::Job;
use super::streams::through;
use super::train::{tell, told};

/// What its window is called.
const MODEL: &str = "model";

/// Trains the model in `rewrite` as the plan says, and writes it to `again`.
pub(super) fn retrain(
    job: &mut Job,
    plan: &Plan,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
    again: &mut Rewrite,
    record: &mut Record,
) -> Result<()> {
    job.observer.event(Event::Stage { name: "retraining the whole model" });
    let mut model = Model::open(job, plan, rewrite, record)?;
    let outcome = model.train(job, plan, decoder)?;
    // it may have ended early
    job.observer.event(Event::Progress(1.0));
    told(job, MODEL, &outcome);
    record.windows.push(WindowFacts { window: MODEL.into(), block: 0, outcome });
    store(job, &model, again, record)
}

/// All that trains, and what it reads.
struct Model {
    states: Vec<BlockState>,
    norm: Norm,
    inputs: HiddenStates,
}

impl Model {
    /// As it has been written so far.
    fn open(job: &Job, plan: &Plan, rewrite: &mut Rewrite, record: &Record) -> Result<Self> {
        let pruned = super::open(job, rewrite)?;
        Ok(Self {
            states: load(&pruned, record)?,
            norm: pruned.load_norm(Decoder::FINAL_NORM)?,
            inputs: HiddenStates::embed(&pruned, &job.samples, plan.compute.hidden_states, &job.storage)?,
        })
    }

    fn train(&mut self, job: &mut Job, plan: &Plan, decoder: &Decoder) -> Result<Outcome> {
        let teacher = teacher(job, plan, decoder)?;
        let (head, rotary) = (decoder.head_weight()?, decoder.rotary(plan.calibration_seqlen(decoder.spec()))?);
        let goal = match (&teacher, plan.retraining.objective) {
            (Some(states), RetrainingObjective::Kl) => Goal::Probabilities(states, plan.retraining.temperature),
            (Some(states), _) => Goal::Logits(states),
            (None, _) => Goal::NextToken,
        };
        let objective = Prediction { head: &head, tokens: &job.samples, goal };
        let data = WindowData { inputs: &self.inputs, objective: &objective, train: plan.calibration.samples };
        let precision = plan.compute.dtype.precision();
        let settings = plan.retraining.settings(&plan.reconstruction, precision, plan.calibration.seed);
        let none = BTreeMap::new();
        let blocks = self.states.iter_mut().map(|BlockState { pruned, masks, .. }| Segment {
            layers: Layers::Halves(pruned, &[Part::Attention, Part::Mlp]),
            masks,
        });
        let norm = Segment { layers: Layers::Norm(&mut self.norm), masks: &none };
        let mut window = Window { segments: blocks.chain([norm]).collect(), rotary: &rotary };
        job.timings.measure(Stage::Retrain, || {
            reconstruct(&mut window, &data, &settings, &mut |epoch| {
                tell(job.observer, MODEL, epoch);
                job.observer.event(Event::Progress(epoch.number as f64 / epoch.of as f64));
            })
        })
    }
}

/// Every block as it is in the files, with masks of its zeros.
fn load(pruned: &Decoder, record: &Record) -> Result<Vec<BlockState>> {
    let mut states =
        (0..pruned.spec().blocks).map(|index| BlockState::load(pruned, index)).collect::<Result<Vec<_>>>()?;
    for facts in record.matrices.iter().filter(|facts| facts.pattern.is_some()) {
        let state = &mut states[facts.block];
        let weight = to_vec(&state.pruned.linear(facts.role).weight)?;
        let kept = weight.iter().map(|&w| u8::from(w != 0.0)).collect();
        state.masks.insert(facts.role, Mask::new(facts.shape[1], kept));
    }
    Ok(states)
}

/// The states of the dense model after its final norm, where it is the teacher.
fn teacher(job: &mut Job, plan: &Plan, decoder: &Decoder) -> Result<Option<HiddenStates>> {
    if plan.retraining.objective == RetrainingObjective::Ce {
        return Ok(None);
    }
    let (precision, length) = (plan.compute.dtype.precision(), plan.calibration_seqlen(decoder.spec()));
    let (batch, rotary) = (batch(length), decoder.rotary(length)?);
    let mut states = HiddenStates::embed(decoder, &job.samples, plan.compute.hidden_states, &job.storage)?;
    let norm = decoder.load_norm(Decoder::FINAL_NORM)?;
    job.timings.measure(Stage::Advance, || {
        for index in 0..decoder.spec().blocks {
            let block = decoder.load_block(index)?;
            through(&mut states, (&block, &[Part::Attention, Part::Mlp]), batch, (precision, &rotary))?;
        }
        let forward = |x: &Tensor, _: &Sequences| {
            let y = Tape::inference(precision).rms_norm(&x.into(), &(&norm.weight).into(), norm.epsilon)?;
            Ok((y.tensor().clone(), ()))
        };
        states.advance(batch, forward, |_, ()| Ok(()))
    })?;
    Ok(Some(states))
}

/// Writes what trained.
fn store(job: &mut Job, model: &Model, rewrite: &mut Rewrite, record: &mut Record) -> Result<()> {
    let mut tensors: Vec<(String, &Tensor)> = model.states.iter().flat_map(|state| state.changed(true)).collect();
    tensors.push((Decoder::FINAL_NORM.into(), &model.norm.weight));
    job.timings.measure(Stage::Write, || tensors.iter().try_for_each(|(name, tensor)| rewrite.put(name, tensor)))?;
    record.replaced.extend(tensors.into_iter().map(|(name, _)| name));
    Ok(())
}
