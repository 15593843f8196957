//! The hidden states that the first window to be done reads: embedded, or moved through what an interrupted run has finished.

use std::ops::Range;

use super::block_state::written;
use super::job::Job;
use super::journal::Journal;
use super::states::{Passage, States};
use crate::calibration::HiddenStates;
use crate::checkpoint::Rewrite;
use crate::error::Result;
use crate::model::Decoder;
use crate::plan::Plan;
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::{Schedule, State};

/// The states that the first window to be done reads.
pub(super) fn begin(
    job: &mut Job,
    plan: &Plan,
    decoder: &Decoder,
    (schedule, passage): (&Schedule, &Passage),
    (journal, rewrite): (&Journal, &Rewrite),
) -> Result<States> {
    let (from, mut states) = match journal.states(schedule.kept(), decoder, job)? {
        Some(kept) => kept,
        None => (0, embed(job, plan, decoder, schedule)?),
    };
    catch_up(job, decoder, from..journal.blocks(), (schedule, passage), &mut states, rewrite)?;
    Ok(states)
}

/// Before the first block.
fn embed(job: &Job, plan: &Plan, decoder: &Decoder, schedule: &Schedule) -> Result<States> {
    let mut states = States::default();
    if schedule.calibrates {
        let embedded = HiddenStates::embed(decoder, &job.samples, plan.compute.hidden_states, &job.storage)?;
        schedule.kept().for_each(|state| states.set(state, embedded.clone()));
    }
    Ok(states)
}

/// Moves states through blocks that are finished, as `rewrite` has them.
fn catch_up(
    job: &mut Job,
    decoder: &Decoder,
    blocks: Range<usize>,
    (schedule, passage): (&Schedule, &Passage),
    states: &mut States,
    rewrite: &Rewrite,
) -> Result<()> {
    if blocks.is_empty() || !schedule.calibrates {
        return Ok(());
    }
    job.observer.event(Event::Stage { name: "running finished blocks once more" });
    job.timings.measure(Stage::Advance, || {
        let pass = |states: &mut States, block: usize| {
            decoder.spec().gone_before(block).try_for_each(|number| {
                let gone = decoder.load_gone(number)?;
                schedule.dense_states().try_for_each(|state| passage.block(states.get_mut(state)?, &gone))
            })
        };
        if blocks.start == 0 {
            pass(states, 0)?;
        }
        for index in blocks {
            let (dense, whole) = (decoder.load_block(index)?, decoder.load_whole(index)?);
            for state in schedule.kept() {
                let as_dense = schedule.dense_inputs || state == State::Dense;
                let block =
                    if as_dense { whole.as_ref().unwrap_or(&dense).clone() } else { written(dense.clone(), rewrite)? };
                passage.block(states.get_mut(state)?, &block)?;
            }
            pass(states, index + 1)?;
        }
        Ok(())
    })
}
