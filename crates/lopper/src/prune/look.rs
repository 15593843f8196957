//! What layers of a dense block read of the calibration text; of an expert that too few tokens reach, with others in their stead.

use std::collections::BTreeMap;

use super::states::Passage;
use crate::autograd::{Tape, Value};
use crate::calibration::{Collector, HiddenStates, Needs, Of, SeenInputs};
use crate::error::Result;
use crate::model::{Block, BranchId, NoTap, Sequences};
use crate::plan::{ExpertTokens, Plan};
use crate::tensor::Tensor;

/// Branches of a block, and the states that the first of them reads.
pub(super) struct Look<'a> {
    pub passage: &'a Passage,
    pub plan: &'a Plan,
    pub needs: Needs,
    /// Whether the sequences held out are counted too, by themselves.
    pub judges: bool,
    pub dense: &'a Block,
    pub branches: &'a [BranchId],
    pub inputs: &'a HiddenStates,
}

impl Look<'_> {
    /// What these layers read, experts `every_token` if so; what the last stage gives goes to `next`. Without that, nothing is computed that
    /// none of them reads.
    pub fn at(&self, linears: &[usize], every_token: bool, mut next: Option<&mut HiddenStates>) -> Result<Collector> {
        let Self { passage, plan, needs, judges, dense, branches, inputs } = *self;
        let mut collector = Collector::new(needs, judges);
        if linears.is_empty() && next.is_none() {
            return Ok(collector);
        }
        let (tensors, train, writes) = (dense.constants(), plan.calibration.samples, next.is_some());
        let [first, last] =
            [branches.first(), branches.last()].map(|branch| branch.map_or(0, |branch| branch.at.stage));
        let forward = |x: &Tensor, sequences: &Sequences| {
            let (mut y, mut seen, context) = (Value::from(x), SeenInputs::default(), passage.context(sequences));
            for stage in first..=last {
                let tape = &mut Tape::new(passage.precision);
                let mut tap = Of { linears, seen: &mut seen, every_token };
                let goes_on = writes || stage < last;
                if goes_on && !every_token {
                    y = dense.stage(stage, &tensors, tape, &y, context, &mut tap)?;
                    continue;
                }
                for &branch in branches.iter().filter(|branch| branch.at.stage == stage) {
                    dense.show(branch, &tensors, tape, &y, context, &mut tap)?;
                }
                if goes_on {
                    y = dense.stage(stage, &tensors, tape, &y, context, &mut NoTap)?;
                }
            }
            Ok((y, seen))
        };
        let count = if writes || judges { inputs.len() } else { train.min(inputs.len()) };
        inputs.for_each(count, passage.batch, forward, |indices, sequences, (y, seen)| {
            let counted = indices.iter().filter(|&&index| index < train).count();
            collector.add(&seen, sequences.offsets()[counted]);
            next.as_mut().map_or(Ok(()), |next| next.set(indices, sequences, y.tensor()))
        })?;
        Ok(collector)
    }

    /// Shows experts that too few tokens reach every token, once more, and counts those too, as the plan asks. How many tokens reached each
    /// layer of an expert.
    pub fn complete(&self, collector: &mut Collector) -> Result<BTreeMap<usize, usize>> {
        let spec = &self.dense.spec;
        let mut reached = collector.tokens();
        reached.retain(|&first, _| spec.linears[first].of_expert);
        let (tokens, wanted) = (self.plan.calibration.expert_tokens, self.plan.calibration.min_expert_tokens);
        let is_short = |tokens_of: usize| tokens == ExpertTokens::All || tokens_of < wanted;
        let short: Vec<usize> = reached.iter().filter(|(_, of)| is_short(**of)).map(|(&first, _)| first).collect();
        // what many experts read alike is there once; of what each makes of it a few are in memory at a time
        let (alike, own): (Vec<usize>, Vec<usize>) = short.into_iter().partition(|&first| spec.reads_as_sent(first));
        let share = own.first().map_or(1.0, |&first| spec.linears[first].share);
        let few = ((own.len() as f64 * share).ceil() as usize).max(1);
        for group in [alike.as_slice()].into_iter().chain(own.chunks(few)).filter(|group| !group.is_empty()) {
            let all = self.at(group, true, None)?;
            match tokens {
                ExpertTokens::Routed => collector.complete(&all, wanted),
                ExpertTokens::All => collector.replace(&all),
            }
        }
        Ok(reached)
    }
}
