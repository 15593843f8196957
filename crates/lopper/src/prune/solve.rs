//! Statistics of the inputs of a block's layers, and masks and compensation made of them.

use std::collections::BTreeMap;

use super::block_state::{BlockState, stored_as};
use super::job::Job;
use super::look::Look;
use super::states::{Passage, States};
use crate::calibration::{BlockStatistics, InputStatistics};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::method::{LayerProblem, SolutionFacts};
use crate::model::{Block, BranchId, DecoderSpec, LinearId, Units};
use crate::plan::Allocation;
use crate::report::{MatrixFacts, Stage};
use crate::schedule::{Run, State};
use crate::sparsity::{Mask, Pattern};

/// The seed of a layer: different for every one.
pub(super) fn layer_seed(seed: u64, spec: &DecoderSpec, id: LinearId) -> u64 {
    seed ^ (spec.linear_number(id) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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
    let (needs, judges) = (run.schedule.needs, run.judges);
    let look = Look { passage, plan: &run.plan, needs, judges, dense, branches, inputs };
    let mut collector = look.at(&linears, false, next.as_mut())?;
    let reached = look.complete(&mut collector)?;
    if let Some((state, next)) = writes.zip(next) {
        states.set(state, next);
    }
    Ok((collector.finish(run.plan.damping()), reached))
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
