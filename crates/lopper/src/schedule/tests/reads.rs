//! States are there when steps read them.

use super::{parallel, schedule, serial};
use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, WindowTargets};
use crate::schedule::{Schedule, State, Step};

/// Every state that a step reads has been written by an earlier one and not been let go of.
#[test]
fn no_step_reads_what_is_not_there() {
    let (serial, parallel) = (serial(), parallel());
    let gone = [[0].as_slice(), &[1], &[2]].map(|numbers| serial.clone().without(numbers));
    let granularities = [
        Granularity::None,
        Granularity::Matrix,
        Granularity::Submodule,
        Granularity::Block,
        Granularity::Blocks(2),
        Granularity::Model,
    ];
    for granularity in granularities {
        for inputs in [Inputs::Dense, Inputs::Pruned] {
            for targets in [WindowTargets::Dense, WindowTargets::Local] {
                for pruning in [PruningGranularity::Submodule, PruningGranularity::Block] {
                    let mut plan = Plan::default();
                    plan.reconstruction.granularity = granularity;
                    (plan.reconstruction.targets, plan.calibration.inputs, plan.pruning.granularity) =
                        (targets, inputs, pruning);
                    for spec in [&serial, &parallel].into_iter().chain(&gone) {
                        check(&schedule(&plan, spec), &format!("{granularity} {inputs:?} {targets:?} {pruning:?}"));
                    }
                }
            }
        }
    }
}

fn check(schedule: &Schedule, what: &str) {
    let mut there: Vec<State> = schedule.kept().collect();
    for step in schedule.windows().flat_map(|window| schedule.steps(window)) {
        let reads: Vec<State> = match &step {
            Step::Calibrate { reads, .. } => vec![*reads],
            Step::Copy { from, .. }
            | Step::Rename { from, .. }
            | Step::Capture { from, .. }
            | Step::Apply { from, .. } => vec![*from],
            Step::Move { state, .. } | Step::Pass { state, .. } => vec![*state],
            Step::Train { reads, targets, .. } | Step::StandIn { reads, targets, .. } => vec![*reads, *targets],
            _ => Vec::new(),
        };
        assert!(reads.iter().all(|state| there.contains(state)), "{what}: {step:?} of {there:?}");
        match step {
            Step::Calibrate { writes: Some(state), .. } => there.push(state),
            Step::Copy { to, .. } | Step::Capture { to, .. } | Step::Apply { to, .. } => there.push(to),
            Step::Rename { from, to } => {
                there.retain(|state| *state != from);
                there.push(to);
            }
            Step::Forget(state) => there.retain(|known| *known != state),
            _ => {}
        }
    }
    let kept: Vec<State> = schedule.kept().collect();
    assert!(kept.iter().all(|state| there.contains(state)), "{what}: {there:?} at the end");
}
