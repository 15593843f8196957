//! The last matrix before blocks that go moves to where their outputs are missed least.

use super::block_state::BlockState;
use super::job::Job;
use super::states::{Passage, States};
use crate::autograd::Tape;
use crate::calibration::SeenInputs;
use crate::error::Result;
use crate::method::{Moments, Refit, refit};
use crate::model::{LinearId, Sequences, StageId};
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::{Run, State};
use crate::tensor::Tensor;

/// Moves the kept weights of a linear layer, whose outputs are added to the states, so that its stage gives `targets` when it reads `reads`,
/// as far as that can be by least squares. `None` where the layer is to stay as it is.
pub(super) fn stand_in(
    job: &mut Job,
    (run, passage): (&Run, &Passage),
    (block, at, linear): (&mut BlockState, StageId, usize),
    (states, reads, targets): (&States, State, State),
) -> Result<Option<Refit>> {
    let Some(mask) = block.masks.get(&linear) else { return Ok(None) };
    let [d_out, d_in] = block.pruned.spec.linears[linear].shape;
    let train = run.plan.calibration.samples;
    let (inputs, targets) = (states.get(reads)?, states.get(targets)?);
    let tensors = block.pruned.constants();
    let forward = |x: &Tensor, sequences: &Sequences| {
        let (mut tape, mut seen) = (Tape::new(passage.precision), SeenInputs::default());
        let y = block.pruned.stage(at.stage, &tensors, &mut tape, &x.into(), passage.context(sequences), &mut seen)?;
        Ok((y.tensor().clone(), seen.take(linear, sequences.tokens())))
    };
    let mut seen = Moments::new(d_out, d_in);
    let mut held_out = (inputs.len() > train).then(|| seen.clone());
    job.timings.measure(Stage::Calibrate, || {
        inputs.for_each(inputs.len(), passage.batch, forward, |indices, sequences, (mut y, x)| {
            let (wanted, _) = targets.batch(indices)?;
            y.host_mut().iter_mut().zip(wanted.host()).for_each(|(y, wanted)| *y = wanted - *y);
            let Some(x) = x else { return Ok(()) };
            let rows = sequences.offsets()[indices.iter().filter(|&&index| index < train).count()];
            let (x, rest) = x.host().split_at(rows * d_in);
            let (r, missed) = y.host().split_at(rows * d_out);
            if !x.is_empty() {
                seen.add(x, r);
            }
            if let Some(held_out) = held_out.as_mut().filter(|_| !rest.is_empty()) {
                held_out.add(rest, missed);
            }
            Ok(())
        })
    })?;
    drop(tensors);
    let (kept, iterations) = (mask.as_slice(), run.plan.pruning.iterations);
    let found = job.timings.measure(Stage::Solve, || refit(&seen, held_out.as_ref(), kept, iterations));
    let place = block.pruned.spec.linears[linear].weight;
    let weight = block.pruned.tensors[place].host_mut();
    weight.iter_mut().zip(&found.delta).for_each(|(w, delta)| *w += delta);
    let name = run.spec.weight_name(LinearId { block: block.index, index: linear });
    let share = found.error;
    job.observer.event(Event::Detail(&format!("{name}: of what goes after it {share:.3} is missed still")));
    Ok(Some(found))
}
