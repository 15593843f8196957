//! The whole pruned model trained at once, as it stands in the files: the baseline that windows are compared with, or what follows them.
//!
//! What is zero stays zero. Embedding and head do not train. All weights are in memory with their training state, of the activations
//! those of one block and the states between blocks.

use std::collections::BTreeMap;

use super::block_state::{BlockState, stored_as};
use super::job::Job;
use super::record::Record;
use super::states::Passage;
use super::train::{report_epoch, report_window};
use crate::calibration::HiddenStates;
use crate::checkpoint::{Checkpoint, Rewrite};
use crate::error::Result;
use crate::model::{Block, BranchId, Decoder};
use crate::plan::{Plan, RetrainingObjective};
use crate::progress::Event;
use crate::reconstruction::{Goal, Layers, Outcome, Prediction, Segment, Window, WindowData, reconstruct};
use crate::report::{Stage, WindowFacts};
use crate::schedule::Run;
use crate::sparsity::Mask;

/// What its window is called.
const MODEL: &str = "model";

/// Trains the `pruned` model, as it has been written so far, as the plan says, and writes it to `again`.
pub(super) fn retrain(
    job: &mut Job,
    run: &Run,
    [dense, pruned]: [&Decoder; 2],
    again: &mut Rewrite,
    record: &mut Record,
) -> Result<()> {
    job.observer.event(Event::Stage { name: "retraining the whole model" });
    let mut model = Model::open(job, &run.plan, pruned, record)?;
    let outcome = model.train(job, &run.plan, dense)?;
    // it may have ended early
    job.observer.event(Event::Progress(1.0));
    report_window(job, MODEL, &outcome);
    record.windows.push(WindowFacts { window: MODEL.into(), block: 0, outcome });
    store(job, dense.checkpoint(), &model, again, record)
}

/// All that trains, and what it reads.
struct Model {
    blocks: Vec<BlockState>,
    finish: Option<Block>,
    inputs: HiddenStates,
    /// Whether neurons, heads, experts or blocks are gone.
    drifts: bool,
}

impl Model {
    fn open(job: &Job, plan: &Plan, pruned: &Decoder, record: &Record) -> Result<Self> {
        Ok(Self {
            blocks: load(plan, pruned, record)?,
            finish: pruned.load_finish()?,
            drifts: plan.shrink.is_asked(),
            inputs: HiddenStates::embed(pruned, &job.samples, plan.compute.hidden_states, &job.storage)?,
        })
    }

    fn train(&mut self, job: &mut Job, plan: &Plan, dense: &Decoder) -> Result<Outcome> {
        let teacher = teacher(job, plan, dense)?;
        let (head, passage) = (dense.head_weights()?, Passage::new(plan, dense));
        let goal = match (&teacher, plan.retraining.objective) {
            (Some(states), RetrainingObjective::Kl) => Goal::Probabilities(states, plan.retraining.temperature),
            (Some(states), _) => Goal::Logits(states),
            (None, _) => Goal::NextToken,
        };
        let objective = Prediction { head: &head, tokens: &job.samples, goal };
        let data = WindowData { inputs: &self.inputs, objective: &objective, train: plan.calibration.samples };
        let settings = plan.retraining.settings(&plan.reconstruction, passage.precision, plan.calibration.seed);
        let none = BTreeMap::new();
        let blocks = self.blocks.iter_mut().map(|state| {
            let trained = state.pruned.spec.branch_ids(state.index).filter(|&branch| state.is_pruned(branch)).collect();
            let BlockState { pruned, masks, .. } = state;
            segment(pruned, trained, masks)
        });
        let finish = self.finish.iter_mut().map(|finish| {
            let all = finish.spec.branch_ids(0).collect();
            segment(finish, all, &none)
        });
        let segments = blocks.chain(finish).collect();
        let mut window = Window { segments, rotary: &passage.rotary, drifts: self.drifts };
        let Job { timings, observer, .. } = job;
        timings.measure(Stage::Retrain, || {
            reconstruct(&mut window, &data, &settings, &mut |epoch| {
                report_epoch(*observer, MODEL, epoch);
                observer.event(Event::Progress(epoch.number as f64 / epoch.of as f64));
            })
        })
    }
}

/// All stages of a block.
fn segment<'a>(block: &'a mut Block, trained: Vec<BranchId>, masks: &'a BTreeMap<usize, Mask>) -> Segment<'a> {
    let layers = Layers::Stages(0..block.spec.stages.len(), trained);
    Segment { block, layers, masks }
}

/// Every block as it is in the files, with masks of its zeros. What was left dense stays so, but where something is gone and no rule says it.
fn load(plan: &Plan, pruned: &Decoder, record: &Record) -> Result<Vec<BlockState>> {
    let spec = pruned.spec();
    let all = plan.shrink.is_asked() && plan.pruning.rules.is_empty();
    let mut blocks = (0..spec.blocks.len()).map(|index| BlockState::load(pruned, index)).collect::<Result<Vec<_>>>()?;
    let matrices = record.matrices.iter().filter(|facts| all || facts.pattern.is_some());
    for id in matrices.filter_map(|facts| spec.linear_named(facts.block, &facts.name)) {
        let state = &mut blocks[id.block];
        state.masks.insert(id.index, Mask::of(state.pruned.weight(id.index)));
    }
    for state in &mut blocks {
        // what was written is what there is: the dense weights are never asked for
        state.pruned.spec.clone().branch_ids(state.index).for_each(|branch| state.release(branch));
    }
    Ok(blocks)
}

/// The states of the dense model that its head reads, where it is the teacher.
fn teacher(job: &mut Job, plan: &Plan, dense: &Decoder) -> Result<Option<HiddenStates>> {
    if plan.retraining.objective == RetrainingObjective::Ce {
        return Ok(None);
    }
    let passage = Passage::new(plan, dense);
    let mut states = HiddenStates::embed(dense, &job.samples, plan.compute.hidden_states, &job.storage)?;
    job.timings
        .measure(Stage::Advance, || {
            for index in 0..dense.spec().blocks.len() {
                passage.whole_block(&mut states, &dense.load_block(index)?)?;
            }
            match dense.load_finish()? {
                Some(finish) => passage.finish(&states, &finish),
                None => Ok(states),
            }
        })
        .map(Some)
}

/// Writes what trained.
fn store(
    job: &mut Job,
    checkpoint: &Checkpoint,
    model: &Model,
    rewrite: &mut Rewrite,
    record: &mut Record,
) -> Result<()> {
    let of_blocks =
        model.blocks.iter().flat_map(|state| state.changed(true).into_iter().map(|place| (&state.pruned, place)));
    let of_finish = model.finish.iter().flat_map(|finish| {
        let branches = finish.spec.stages.iter().flat_map(|stage| &stage.branches);
        branches.flat_map(|branch| branch.others.iter().map(|&place| (finish, place))).collect::<Vec<_>>()
    });
    for (block, place) in of_blocks.chain(of_finish) {
        let name = block.name(place);
        let mut tensor = block.in_file(place)?.into_owned();
        let beyond = stored_as(checkpoint, &name).clamp(tensor.host_mut());
        if beyond > 0 {
            job.warn(format!(
                "{name}: {beyond} trained weights beyond the range of the file's dtype became its largest number"
            ));
        }
        job.timings.measure(Stage::Write, || rewrite.put(&name, &tensor))?;
        record.replaced.insert(name);
    }
    Ok(())
}
