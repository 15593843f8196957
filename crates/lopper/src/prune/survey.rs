//! A pass over the dense model before the first block, where the share of a matrix depends on other matrices: scores of
//! those that compete, outliers of the blocks. Nothing is pruned; memory is one block and one stream of hidden states.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::autograd::{RotaryTable, Tape};
use crate::calibration::{HiddenStates, InputStatistics, Needs, SeenInputs, StatisticsTap};
use crate::error::Result;
use crate::method::criterion::Wanda;
use crate::method::{LayerProblem, Selection, to_vec};
use crate::model::{Block, Decoder, LinearId, LinearRole, Sequences};
use crate::plan::{Allocation, Measured, Plan, Targets};
use crate::progress::Event;
use crate::report::Stage;
use crate::schedule::{Schedule, batch};
use crate::sparsity::allocation::{Histogram, outlier_share};
use crate::tensor;

use super::block_state::{BlockState, layer_seed};
use super::job::Job;

/// The pattern of every matrix; looks at the dense model first where the plan needs that.
pub(super) fn allocate(job: &mut Job, plan: &Plan, decoder: &Decoder) -> Result<Allocation> {
    let targets = plan.targets(decoder.spec())?;
    let mut measured = Measured::default();
    if let Some(needs) = Schedule::new(plan)?.survey.filter(|_| targets.is_measured()) {
        job.observer.event(Event::Stage { name: "surveying the dense model" });
        let mut survey = Survey::new(job, plan, decoder, needs)?;
        for index in 0..decoder.spec().blocks {
            survey.block(&targets, index, &mut measured)?;
            survey.job.observer.event(Event::Progress((index + 1) as f64 / decoder.spec().blocks as f64));
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
    rotary: RotaryTable,
}

impl<'j, 'o> Survey<'j, 'o> {
    fn new(job: &'j mut Job<'o>, plan: &'j Plan, decoder: &'j Decoder, needs: Needs) -> Result<Self> {
        let training = &job.samples[..plan.calibration.samples];
        let embed = || HiddenStates::embed(decoder, training, plan.compute.hidden_states, &job.storage);
        let states = (needs != Needs::Nothing).then(embed).transpose()?;
        let rotary = decoder.rotary(plan.calibration_seqlen(decoder.spec()))?;
        Ok(Self { job, plan, decoder, selection: plan.selection()?, needs, states, rotary })
    }

    /// Measures what `targets` wants to know of one block, and moves on.
    fn block(&mut self, targets: &Targets, index: usize, measured: &mut Measured) -> Result<()> {
        let mut state = BlockState::load(self.decoder, index)?;
        if let Some(mut states) = self.states.take() {
            state.statistics = self.advance(&state.dense, &mut states)?;
            self.states = Some(states);
        }
        let ids = LinearRole::ALL.map(|role| LinearId { block: index, role });
        for id in ids.into_iter().filter(|&id| targets.competes(id)) {
            measured.scores.insert(id, Histogram::new(&self.scores(&self.selection.clone(), &state, id)?));
        }
        let counted: Vec<LinearId> = ids.into_iter().filter(|&id| targets.counts_outliers(id)).collect();
        if !counted.is_empty() {
            // OWL counts the outliers of Wanda's scores
            let wanda = Selection::Scores(Arc::new(Wanda));
            let scores = counted.iter().map(|&id| self.scores(&wanda, &state, id)).collect::<Result<Vec<_>>>()?;
            measured.outliers.insert(index, outlier_share(&scores, self.plan.pruning.owl_threshold));
        }
        Ok(())
    }

    /// Moves the dense model's states through a block; returns the statistics of its inputs.
    fn advance(&mut self, block: &Block, states: &mut HiddenStates) -> Result<BTreeMap<LinearRole, InputStatistics>> {
        let batch = batch(self.plan.calibration_seqlen(self.decoder.spec()));
        let (precision, rotary) = (self.plan.compute.dtype.precision(), &self.rotary);
        let mut tap = StatisticsTap::new(self.needs);
        self.job.timings.measure(Stage::Calibrate, || {
            let forward = |x: &Tensor, sequences: &Sequences| {
                let (mut tape, mut seen) = (Tape::inference(precision), SeenInputs::default());
                let y = block.forward(&mut tape, &x.into(), sequences, rotary, &mut seen)?;
                Ok((y.tensor().clone(), seen))
            };
            states.advance(batch, forward, |_, seen| Ok(seen.show(&mut tap)?))
        })?;
        Ok(tap.finish(self.plan.pruning.damping))
    }

    /// The scores that a selection gives a dense matrix.
    fn scores(&mut self, selection: &Selection, state: &BlockState, id: LinearId) -> Result<tensor::Tensor> {
        let (d_out, d_in) = self.decoder.spec().shape(id.role);
        let weight = tensor::Tensor::new([d_out, d_in], to_vec(&state.dense.linear(id.role).weight)?);
        let unseen = InputStatistics::unseen(d_in);
        let problem = LayerProblem {
            weight: &weight,
            inputs: state.inputs_of(id.role).unwrap_or(&unseen),
            pattern: &self.plan.pattern()?,
            seed: layer_seed(self.plan.calibration.seed, id),
            settings: self.plan.solver_settings(),
        };
        let scores = self.job.timings.measure(Stage::Solve, || selection.scores(&problem));
        Ok(scores.unwrap_or_else(|| {
            let name = Decoder::weight_name(id);
            self.job.warn(format!("{name}: its Hessian has no inverse; beside other matrices its scores count as 0"));
            tensor::Tensor::zeros(weight.shape())
        }))
    }
}
