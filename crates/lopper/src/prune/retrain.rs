//! The whole pruned model trained at once, as it stands in the files: the baseline that windows are compared with, or what follows them.
//!
//! What is zero stays zero. Embedding and head do not train. All weights are in memory with their training state, of the activations
//! those of one block and the states between blocks.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::autograd::Tape;
use crate::calibration::HiddenStates;
use crate::checkpoint::{Checkpoint, Rewrite};
use crate::error::Result;
use crate::method::to_vec;
use crate::model::{Decoder, NoTap, Part, Sequences};
use crate::plan::{Plan, RetrainingObjective};
use crate::progress::Event;
use crate::reconstruction::{Goal, Layers, Prediction, Segment, Window, WindowData, reconstruct};
use crate::report::{Stage, WindowFacts};
use crate::schedule::BATCH_TOKENS;
use crate::sparsity::Mask;

use super::block_state::BlockState;
use super::compress::Record;
use super::job::Job;
use super::train::{tell, told};

/// Trains the model in `rewrite` as the plan says, and writes it again.
pub(super) fn retrain(
    job: &mut Job,
    plan: &Plan,
    decoder: &Decoder,
    rewrite: &mut Rewrite,
    record: &mut Record,
) -> Result<()> {
    if plan.retraining.objective == RetrainingObjective::None {
        return Ok(());
    }
    job.observer.event(Event::Stage { name: "retraining the whole model" });
    let pruned = Decoder::open(Checkpoint::open(rewrite.complete()?)?, job.device.clone())?;
    let mut states = load(&pruned, record)?;
    let mut norm = pruned.final_norm()?;
    let inputs = HiddenStates::embed(&pruned, &job.samples, plan.compute.hidden_states)?;
    // nothing of the files is mapped while they are written
    drop(pruned);
    let teacher = teacher(job, plan, decoder)?;
    let (head, rotary) = (decoder.head_weight()?, decoder.rotary(plan.calibration_seqlen(decoder.spec()))?);
    let goal = match (&teacher, plan.retraining.objective) {
        (Some(states), RetrainingObjective::Kl) => Goal::Probabilities(states, plan.retraining.temperature),
        (Some(states), _) => Goal::Logits(states),
        (None, _) => Goal::NextToken,
    };
    let objective = Prediction { head: &head, tokens: &job.samples, goal };
    let data = WindowData { inputs: &inputs, objective: &objective, train: plan.calibration.samples };
    let settings =
        plan.retraining.settings(&plan.reconstruction, plan.compute.dtype.precision(), plan.calibration.seed);
    let none = BTreeMap::new();
    let mut segments: Vec<Segment> = states
        .iter_mut()
        .map(|BlockState { pruned, masks, .. }| Segment {
            layers: Layers::Halves(pruned, &[Part::Attention, Part::Mlp]),
            masks,
        })
        .collect();
    segments.push(Segment { layers: Layers::Norm(&mut norm), masks: &none });
    let mut window = Window { segments, rotary: &rotary };
    let outcome = job.timings.measure(Stage::Retrain, || {
        reconstruct(&mut window, &data, &settings, &mut tell(job.observer, "model", true))
    })?;
    told(job, "model", &outcome);
    let trained = !outcome.losses.is_empty();
    record.windows.push(WindowFacts { window: "model".into(), block: 0, outcome });
    if trained { store(job, &states, &norm.weight, rewrite, record) } else { Ok(()) }
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
    let (batch, rotary) = ((BATCH_TOKENS / length).max(1), decoder.rotary(length)?);
    let mut states = HiddenStates::embed(decoder, &job.samples, plan.compute.hidden_states)?;
    let norm = decoder.final_norm()?;
    job.timings.measure(Stage::Advance, || {
        for index in 0..decoder.spec().blocks {
            let block = decoder.load_block(index)?;
            let forward = |x: &Tensor, sequences: &Sequences| {
                let y = block.forward(&mut Tape::inference(precision), &x.into(), sequences, &rotary, &mut NoTap)?;
                Ok((y.tensor().clone(), ()))
            };
            states.advance(batch, forward, |_, ()| Ok(()))?;
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
fn store(
    job: &mut Job,
    states: &[BlockState],
    norm: &Tensor,
    rewrite: &mut Rewrite,
    record: &mut Record,
) -> Result<()> {
    let mut tensors: Vec<(String, &Tensor)> = states.iter().flat_map(|state| state.changed(true)).collect();
    tensors.push((Decoder::final_norm_name().into(), norm));
    job.timings.measure(Stage::Write, || tensors.iter().try_for_each(|(name, tensor)| rewrite.put(name, tensor)))?;
    record.replaced.extend(tensors.into_iter().map(|(name, _)| name));
    Ok(())
}
