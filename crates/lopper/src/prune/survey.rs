//! A pass over the dense model before the first block, where the share of a matrix depends on other matrices: scores of
//! those that compete, outliers of the blocks. Nothing is pruned; memory is one block and one stream of hidden states.

use std::sync::Arc;

use super::block_state::BlockState;
use super::job::Job;
use super::look::Look;
use super::solve::layer_seed;
use super::states::Passage;
use crate::autograd::Tape;
use crate::calibration::{BlockStatistics, Collector, HiddenStates, InputStatistics, Needs, SeenInputs};
use crate::error::Result;
use crate::method::criterion::Wanda;
use crate::method::{LayerProblem, Selection};
use crate::model::{Block, BranchId, Decoder, LinearId, Sequences};
use crate::plan::{Allocation, Measured, Plan, Targets};
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::Run;
use crate::sparsity::allocation::{Histogram, outlier_share};
use crate::tensor::Tensor;

/// The pattern of every matrix; looks at the dense model first where the plan needs that.
pub(super) fn allocate(job: &mut Job, run: &Run, decoder: &Decoder) -> Result<Allocation> {
    let targets = &run.targets;
    let mut measured = Measured::default();
    if let Some(needs) = run.schedule.survey.filter(|_| targets.is_measured()) {
        job.observer.event(Event::Stage { name: "surveying the dense model" });
        let mut survey = Survey::new(job, run, decoder, needs)?;
        let blocks = decoder.spec().blocks.len();
        for index in 0..blocks {
            survey.block(targets, index, &mut measured)?;
            survey.job.observer.event(Event::Progress((index + 1) as f64 / blocks as f64));
        }
    }
    targets.allocate(&measured)
}

struct Survey<'j, 'o> {
    job: &'j mut Job<'o>,
    plan: &'j Plan,
    decoder: &'j Decoder,
    selection: Selection,
    needs: Needs,
    /// Those of the training windows before the block at hand; absent where the criterion asks for no inputs.
    states: Option<HiddenStates>,
    passage: Passage,
}

impl<'j, 'o> Survey<'j, 'o> {
    fn new(job: &'j mut Job<'o>, run: &'j Run, decoder: &'j Decoder, needs: Needs) -> Result<Self> {
        let plan = &run.plan;
        let training = &job.samples[..plan.calibration.samples];
        let embed = || HiddenStates::embed(decoder, training, plan.compute.hidden_states, &job.storage);
        let states = (needs != Needs::Nothing).then(embed).transpose()?;
        let passage = Passage::new(plan, decoder);
        let selection = run.method.selection.clone();
        Ok(Self { job, plan, decoder, selection, needs, states, passage })
    }

    /// Measures what `targets` wants to know of one block, and moves on.
    fn block(&mut self, targets: &Targets, index: usize, measured: &mut Measured) -> Result<()> {
        let mut state = BlockState::load(self.decoder, index)?;
        if let Some(mut states) = self.states.take() {
            state.statistics = self.advance((index, &state.dense), &mut states)?;
            self.states = Some(states);
        }
        let linears = self.decoder.spec().blocks[index].linears.len();
        let ids = (0..linears).map(|linear| LinearId { block: index, index: linear });
        for id in ids.clone().filter(|&id| targets.competes(id)) {
            measured.scores.insert(id, Histogram::new(&self.scores(&self.selection.clone(), &state, id)?));
        }
        let counted: Vec<LinearId> = ids.filter(|&id| targets.counts_outliers(id)).collect();
        if !counted.is_empty() {
            // OWL counts the outliers of Wanda's scores
            let wanda = Selection::Scores(Arc::new(Wanda));
            let scores = counted.iter().map(|&id| self.scores(&wanda, &state, id)).collect::<Result<Vec<_>>>()?;
            measured.outliers.insert(index, outlier_share(&scores, self.plan.pruning.owl_threshold));
        }
        Ok(())
    }

    /// Moves the dense model's states through a block; returns the statistics of its inputs.
    fn advance(&mut self, (index, block): (usize, &Block), states: &mut HiddenStates) -> Result<BlockStatistics> {
        let (passage, plan, needs) = (&self.passage, self.plan, self.needs);
        let mut collector = Collector::new(needs, false);
        let before = block.spec.linears.iter().any(|linear| linear.of_expert).then(|| states.clone());
        self.job.timings.measure(Stage::Calibrate, || {
            let forward = |x: &Tensor, sequences: &Sequences| {
                let (mut tape, mut seen) = (Tape::new(passage.precision), SeenInputs::default());
                let y = block.forward(&mut tape, &x.into(), passage.context(sequences), &mut seen)?;
                Ok((y.tensor().clone(), seen))
            };
            states.advance(passage.batch, forward, |_, sequences, seen| {
                collector.add(&seen, sequences.tokens());
                Ok(())
            })?;
            let Some(inputs) = &before else { return Ok(()) };
            let branches: Vec<BranchId> = block.spec.branch_ids(index).collect();
            let look = Look { passage, plan, needs, judges: false, dense: block, branches: &branches, inputs };
            look.complete(&mut collector).map(drop)
        })?;
        Ok(collector.finish(self.plan.damping()))
    }

    /// The scores that a selection gives a dense matrix.
    fn scores(&mut self, selection: &Selection, state: &BlockState, id: LinearId) -> Result<Tensor> {
        let (spec, weight) = (self.decoder.spec(), state.dense.weight(id.index));
        let unseen = InputStatistics::unseen(weight.width());
        let problem = LayerProblem {
            weight,
            inputs: state.inputs_of(id.index).unwrap_or(&unseen),
            pattern: &self.plan.pattern()?,
            seed: layer_seed(self.plan.calibration.seed, spec, id),
            settings: self.plan.solver_settings(),
        };
        let scores = self.job.timings.measure(Stage::Solve, || selection.scores(&problem));
        Ok(scores.unwrap_or_else(|| {
            let name = spec.weight_name(id);
            self.job.warn(format!("{name}: its Hessian has no inverse; beside other matrices its scores count as 0"));
            Tensor::zeros(weight.shape())
        }))
    }
}
