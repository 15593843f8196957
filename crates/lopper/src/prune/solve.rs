//! Statistics of the inputs of a block's layers, and masks and compensation made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block_state::{BlockState, stored_as};
use super::job::Job;
use super::states::{Passage, States};
use crate::autograd::{Tape, Value};
use crate::calibration::{BlockStatistics, Collector, HiddenStates, InputStatistics, SeenInputs};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::method::{LayerProblem, SolutionFacts};
use crate::model::{Block, BranchId, DecoderSpec, LinearId, NoTap, Sequences, Tap, Units};
use crate::plan::{Allocation, ExpertTokens};
use crate::report::{MatrixFacts, Stage};
use crate::schedule::{Run, State};
use crate::sparsity::{Mask, Pattern};
use crate::tensor::Tensor;

/// The seed of a layer: different for every one.
pub(super) fn layer_seed(seed: u64, spec: &DecoderSpec, id: LinearId) -> u64 {
    seed ^ (spec.linear_number(id) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Sees the inputs of some linear layers.
struct Of<'a> {
    linears: &'a [usize],
    seen: &'a mut SeenInputs,
    /// Whether experts read every token.
    every_token: bool,
}

impl Tap for Of<'_> {
    fn linear_input(&mut self, first: usize, input: &Tensor, tokens: Option<&Arc<[u32]>>) -> Result<()> {
        if self.wants(first) { self.seen.linear_input(first, input, tokens) } else { Ok(()) }
    }

    fn wants(&self, first: usize) -> bool {
        self.linears.contains(&first)
    }

    fn every_token(&self) -> bool {
        self.every_token
    }
}

/// Runs branches of a dense block on the states `reads`, and collects what the method of a run needs to know of their inputs on the
/// training sequences, and on those held out if it judges by them. What their last stage gives goes to `writes`; without that, nothing is
/// computed that no layer reads. Also how many tokens reached each layer of an expert; where they were too few, a second pass shows those
/// experts every token.
pub(super) fn calibrate(
    states: &mut States,
    (passage, run): (&Passage, &Run),
    (dense, branches): (&Block, &[BranchId]),
    (reads, writes): (State, Option<State>),
) -> Result<(BlockStatistics, BTreeMap<usize, usize>)> {
    let mut linears: Vec<usize> =
        branches.iter().flat_map(|&branch| dense.spec.branch(branch).linears.clone()).collect();
    linears.retain(|&index| run.solves(LinearId { block: branches[0].at.block, index }));
    let inputs = states.get(reads)?;
    let mut next = writes.map(|_| inputs.clone());
    let look = Look { passage, run, dense, branches, inputs };
    let mut collector = look.at(&linears, false, next.as_mut())?;
    let mut reached = collector.tokens();
    reached.retain(|&first, _| dense.spec.linears[first].is_of_expert());
    let (tokens, wanted) = (run.plan.calibration.expert_tokens, run.plan.calibration.min_expert_tokens);
    let short = match tokens {
        ExpertTokens::Routed => collector.short_of(wanted),
        ExpertTokens::All => reached.keys().copied().collect(),
    };
    let short: Vec<usize> = short.into_iter().filter(|first| reached.contains_key(first)).collect();
    if !short.is_empty() {
        let all = look.at(&short, true, None)?;
        match tokens {
            ExpertTokens::Routed => collector.complete(&all, wanted),
            ExpertTokens::All => collector.replace(all),
        }
    }
    if let Some((state, next)) = writes.zip(next) {
        states.set(state, next);
    }
    Ok((collector.finish(run.plan.damping()), reached))
}

/// A look at what layers of some branches read.
struct Look<'a> {
    passage: &'a Passage,
    run: &'a Run<'a>,
    dense: &'a Block,
    branches: &'a [BranchId],
    inputs: &'a HiddenStates,
}

impl Look<'_> {
    /// What these layers read, experts `every_token` if so; what the last stage gives goes to `next`.
    fn at(&self, linears: &[usize], every_token: bool, mut next: Option<&mut HiddenStates>) -> Result<Collector> {
        let Self { passage, run, dense, branches, inputs } = *self;
        let mut collector = Collector::new(run.schedule.needs, run.judges);
        if linears.is_empty() && next.is_none() {
            return Ok(collector);
        }
        let (tensors, train, writes) = (dense.constants(), run.plan.calibration.samples, next.is_some());
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
        let count = if writes || run.judges { inputs.len() } else { train.min(inputs.len()) };
        inputs.for_each(count, passage.batch, forward, |indices, sequences, (y, seen)| {
            let counted = indices.iter().filter(|&&index| index < train).count();
            collector.add(&seen, sequences.offsets()[counted]);
            next.as_mut().map_or(Ok(()), |next| next.set(indices, sequences, y.tensor()))
        })?;
        Ok(collector)
    }
}

/// Prunes and repairs the matrices of a branch; what is known of each, in their order.
pub(super) fn prune(
    job: &mut Job,
    by: (&Run, &Allocation, &Checkpoint),
    state: &mut BlockState,
    branch: BranchId,
) -> Result<Vec<MatrixFacts>> {
    let mut linears = state.pruned.spec.branch(branch).linears.clone();
    // which outputs go is decided where what they make is read
    linears.sort_by_key(|&index| !by.0.solves(LinearId { block: state.index, index }));
    let found = linears.into_iter().map(|linear| Ok((linear, prune_matrix(job, by, state, linear)?)));
    let mut found = found.collect::<Result<Vec<_>>>()?;
    found.sort_by_key(|(linear, _)| *linear);
    Ok(found.into_iter().map(|(_, facts)| facts).collect())
}

/// Prunes and repairs one matrix, unless it stays dense.
fn prune_matrix(
    job: &mut Job,
    (run, allocation, checkpoint): (&Run, &Allocation, &Checkpoint),
    state: &mut BlockState,
    linear: usize,
) -> Result<MatrixFacts> {
    let (plan, spec, id) = (&run.plan, run.spec, LinearId { block: state.index, index: linear });
    let Some(&pattern) = allocation.get(id) else { return Ok(facts(spec, id)) };
    if let (Pattern::Outputs { .. }, Some(units)) = (pattern, run.units_of(id)) {
        return Ok(outputs(spec, id, pattern, (units, state)));
    }
    if !run.solves(id) {
        let [rows, columns] = spec.linear(id).shape;
        state.masks.insert(linear, Mask::of_outputs(&vec![1; rows], columns));
        return Ok(MatrixFacts { pattern: Some(pattern), ..facts(spec, id) });
    }
    let weight = state.dense.weight(linear);
    let unseen = InputStatistics::unseen(weight.width());
    let problem = LayerProblem {
        weight,
        inputs: state.inputs_of(linear).unwrap_or(&unseen),
        pattern: &pattern,
        seed: layer_seed(plan.calibration.seed, spec, id),
        settings: plan.solver_settings(),
    };
    let mut solution = job.timings.measure(Stage::Solve, || run.method.solve(&problem))?;
    let stored = stored_as(checkpoint, &spec.weight_name(id));
    if !stored.holds(solution.weight.host()) {
        solution.undo(weight, &format!("compensated weights are beyond the range of {stored:?}: only pruned"));
    }
    let mut facts = facts(spec, id);
    if let Some(warning) = &solution.facts.warning {
        job.warn(format!("{}: {warning}", facts.name));
    }
    facts.tokens = state.reached.get(&spec.linear(id).first_reader).copied();
    facts.pattern = Some(pattern);
    facts.sparsity = solution.mask.pruned() as f64 / spec.linear(id).weights() as f64;
    facts.solution = solution.facts;
    let place = spec.linear(id).weight;
    state.pruned.tensors[place] = solution.weight;
    state.masks.insert(linear, solution.mask);
    Ok(facts)
}

/// Takes out of a matrix the outputs of units that are gone. What reads them has been pruned before.
fn outputs(
    spec: &DecoderSpec,
    id: LinearId,
    pattern: Pattern,
    (units, state): (&Units, &mut BlockState),
) -> MatrixFacts {
    let [rows, columns] = spec.linear(id).shape;
    let inputs = spec.linear(LinearId { index: units.reader, ..id }).shape[1];
    let kept = state.masks.get(&units.reader).map_or_else(
        || vec![true; units.count],
        |mask| mask.as_slice()[..inputs].iter().step_by(inputs / units.count).map(|&kept| kept == 1).collect(),
    );
    let kept = units.outputs_kept(id.index, rows, &kept).unwrap_or_else(|| vec![true; rows]);
    let mask = Mask::of_outputs(&kept.into_iter().map(u8::from).collect::<Vec<_>>(), columns);
    let place = spec.linear(id).weight;
    state.pruned.tensors[place] = mask.apply(state.dense.tensors[place].clone());
    let sparsity = mask.pruned() as f64 / spec.linear(id).weights() as f64;
    state.masks.insert(id.index, mask);
    MatrixFacts { pattern: Some(pattern), sparsity, ..facts(spec, id) }
}

/// Of a matrix that stays dense.
fn facts(spec: &DecoderSpec, id: LinearId) -> MatrixFacts {
    let linear = spec.linear(id);
    MatrixFacts {
        name: spec.weight_name(id),
        block: id.block,
        role: linear.role.into(),
        shape: linear.shape,
        pattern: None,
        sparsity: 0.0,
        tokens: None,
        solution: SolutionFacts::default(),
        missed: None,
        error_reconstructed: None,
    }
}
