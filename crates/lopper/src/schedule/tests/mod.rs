//! The steps of windows of every kind, on a serial and on a parallel block.

mod reads;

use std::path::Path;

use super::{Run, Schedule, State, Step, Trained, Weights};
use crate::calibration::Needs;
use crate::model::{BranchId, DecoderSpec, StageId, describe};
use crate::plan::{Granularity, Inputs, Plan, PruningGranularity, PruningPlan, Ratios, Rule, WindowTargets};
use crate::sparsity::Extent;

/// Three blocks of attention, then feed-forward layer.
fn serial() -> DecoderSpec {
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 16});
    describe(Path::new("config.json"), &config).expect("a llama")
}

/// One block whose attention and feed-forward layer stand side by side.
fn parallel() -> DecoderSpec {
    let config = serde_json::json!({"model_type": "gpt_neox", "vocab_size": 8, "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16});
    describe(Path::new("config.json"), &config).expect("a gpt_neox")
}

fn at(block: usize, stage: usize) -> StageId {
    StageId { block, stage }
}

/// The only branch of a stage.
fn branch(block: usize, stage: usize) -> BranchId {
    BranchId { at: at(block, stage), branch: 0 }
}

fn schedule<'s>(plan: &Plan, spec: &'s DecoderSpec) -> Schedule<'s> {
    Run::new(plan, spec).expect("valid").schedule
}

fn calibrate(branch: BranchId, reads: State) -> Step {
    Step::Calibrate { branches: vec![branch], reads, writes: None }
}

fn moved(state: State, stage: StageId, weights: Weights) -> Step {
    Step::Move { state, stage, weights }
}

#[test]
fn default_repairs_each_branch_before_the_next_is_pruned() {
    let spec = serial();
    let schedule = schedule(&Plan::default(), &spec);
    let of = |stage| {
        let own = vec![branch(1, stage)];
        vec![
            calibrate(own[0], State::Inputs),
            Step::Prune(own.clone()),
            moved(State::Dense, at(1, stage), Weights::Dense),
            Step::Release(own.clone()),
            Step::Train { window: Trained::Branches(own.clone()), reads: State::Inputs, targets: State::Dense },
            Step::ForgetStatistics(own),
            Step::Round(at(1, stage)),
            moved(State::Inputs, at(1, stage), Weights::Pruned),
        ]
    };
    assert_eq!(schedule.windows().collect::<Vec<_>>(), [0..1, 1..2, 2..3]);
    assert_eq!(schedule.steps(1..2), [vec![Step::Load(1)], of(0), of(1)].concat());
    assert_eq!(schedule.kept().collect::<Vec<_>>(), [State::Inputs, State::Dense]);
}

#[test]
fn branches_side_by_side_train_one_by_one_against_one_target() {
    let spec = parallel();
    let steps = schedule(&Plan::default(), &spec).steps(0..1);
    let [attention, mlp] = [0, 1].map(|branch| BranchId { at: at(0, 0), branch });
    let of = |branch: BranchId| {
        let train =
            Step::Train { window: Trained::Branches(vec![branch]), reads: State::Inputs, targets: State::Dense };
        [Step::Release(vec![branch]), train, Step::ForgetStatistics(vec![branch])]
    };
    let expected = [
        vec![Step::Load(0), calibrate(attention, State::Inputs), Step::Prune(vec![attention])],
        vec![moved(State::Dense, at(0, 0), Weights::Dense)],
        of(attention).to_vec(),
        vec![calibrate(mlp, State::Inputs), Step::Prune(vec![mlp])],
        of(mlp).to_vec(),
        vec![Step::Round(at(0, 0)), moved(State::Inputs, at(0, 0), Weights::Pruned)],
    ];
    assert_eq!(steps, expected.concat());
}

#[test]
fn magnitude_alone_runs_no_calibration() {
    let (mut plan, spec) = (Plan::default(), serial());
    plan.pruning.criterion = Some("magnitude".into());
    plan.pruning.compensation = "none".into();
    plan.reconstruction.granularity = Granularity::None;
    let schedule = schedule(&plan, &spec);
    assert!(!schedule.calibrates && !schedule.dense_stream && schedule.kept().next().is_none());
    let pruned: Vec<Step> =
        schedule.steps(0..1).into_iter().filter(|step| !matches!(step, Step::ForgetStatistics(_))).collect();
    assert_eq!(pruned, [Step::Load(0), Step::Prune(vec![branch(0, 0)]), Step::Prune(vec![branch(0, 1)])]);
}

#[test]
fn shares_that_depend_on_other_matrices_are_surveyed_first() {
    let spec = serial();
    let survey = |change: &dyn Fn(&mut PruningPlan)| {
        let mut plan = Plan::default();
        change(&mut plan.pruning);
        schedule(&plan, &spec).survey
    };
    let rule = |scope| Rule { matrices: "mlp".into(), sparsity: Some(0.3), scope, ..Rule::default() };
    assert_eq!(survey(&|_| {}), None);
    assert_eq!(survey(&|pruning| pruning.scope = Some(Extent::Matrix)), None);
    assert_eq!(survey(&|pruning| pruning.scope = Some(Extent::Model)), Some(Needs::ColumnNorms));
    assert_eq!(survey(&|pruning| pruning.rules = vec![rule(Some(Extent::Block))]), Some(Needs::ColumnNorms));
    let magnitude = |pruning: &mut PruningPlan| {
        (pruning.criterion, pruning.scope) = (Some("magnitude".into()), Some(Extent::Block));
        pruning.rules = vec![rule(None)];
    };
    assert_eq!(survey(&magnitude), Some(Needs::Nothing));
    let owl = |pruning: &mut PruningPlan| (pruning.criterion, pruning.ratios) = (Some("magnitude".into()), Ratios::Owl);
    assert_eq!(survey(&owl), Some(Needs::ColumnNorms));
}

#[test]
fn block_granularity_prunes_all_branches_from_one_pass_unless_inputs_are_dense() {
    let (mut plan, spec) = (Plan::default(), serial());
    plan.pruning.granularity = PruningGranularity::Block;
    let both = vec![branch(0, 0), branch(0, 1)];
    assert_eq!(schedule(&plan, &spec).steps(0..1)[2], Step::Prune(both));
    plan.calibration.inputs = Inputs::Dense;
    let schedule = schedule(&plan, &spec);
    assert_eq!(schedule.steps(0..1)[2], Step::Prune(vec![branch(0, 0)]));
    assert!(!schedule.dense_stream);
}

#[test]
fn a_window_of_blocks_is_pruned_in_order_then_trained_then_left() {
    let (mut plan, spec) = (Plan::default(), serial());
    plan.reconstruction.granularity = Granularity::Blocks(2);
    let two = schedule(&plan, &spec);
    assert_eq!(two.windows().collect::<Vec<_>>(), [0..2, 2..3]);
    let all: Vec<BranchId> = (0..2).flat_map(|block| [branch(block, 0), branch(block, 1)]).collect();
    let ahead = |one: BranchId| {
        let (own, stage) = (vec![one], one.at);
        let targets = moved(State::Dense, stage, Weights::Dense);
        vec![calibrate(one, State::Ahead), Step::Prune(own), targets, moved(State::Ahead, stage, Weights::Stored)]
    };
    let mut first = ahead(all[0]);
    first[0] = calibrate(all[0], State::Inputs);
    first.insert(3, Step::Copy { from: State::Inputs, to: State::Ahead });
    let mut last = ahead(all[3]);
    last.pop();
    let block = all[..2].to_vec();
    let leave = |one: &BranchId| [Step::Round(one.at), moved(State::Inputs, one.at, Weights::Pruned)];
    let expected = [
        vec![Step::Load(0)],
        first,
        ahead(all[1]),
        vec![Step::Release(block.clone()), Step::ForgetStatistics(block), Step::Load(1)],
        ahead(all[2]),
        last,
        vec![
            Step::Release(all.clone()),
            Step::ForgetStatistics(all.clone()),
            Step::Train { window: Trained::Branches(all.clone()), reads: State::Inputs, targets: State::Dense },
            Step::Forget(State::Ahead),
        ],
        all.iter().flat_map(leave).collect(),
    ];
    assert_eq!(two.steps(0..2), expected.concat());
}

#[test]
fn dense_inputs_arrive_at_the_targets() {
    let (mut plan, spec) = (Plan::default(), serial());
    plan.reconstruction.granularity = Granularity::Blocks(2);
    plan.calibration.inputs = Inputs::Dense;
    let steps = schedule(&plan, &spec).steps(0..2);
    assert!(!steps.iter().any(|step| matches!(step, Step::Move { .. } | Step::Copy { .. } | Step::Round(_))));
    let reads: Vec<State> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Calibrate { reads, writes: Some(State::Ahead), .. } => Some(*reads),
            _ => None,
        })
        .collect();
    assert_eq!(reads, [State::Inputs, State::Ahead, State::Ahead, State::Ahead]);
    assert_eq!(steps.last(), Some(&Step::Rename { from: State::Ahead, to: State::Inputs }));
    // side by side: the second branch reads what the first one read
    let spec = parallel();
    for granularity in [Granularity::Submodule, Granularity::Block] {
        plan.reconstruction.granularity = granularity;
        let steps = schedule(&plan, &spec).steps(0..1);
        let calibrations: Vec<(State, Option<State>)> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Calibrate { reads, writes, .. } => Some((*reads, *writes)),
                _ => None,
            })
            .collect();
        assert!(calibrations.iter().all(|(reads, _)| *reads == State::Inputs), "{calibrations:?}");
        assert_eq!(calibrations.iter().filter(|(_, writes)| writes.is_some()).count(), 1, "{calibrations:?}");
    }
}

#[test]
fn local_targets_begin_with_each_window() {
    let (mut plan, spec) = (Plan::default(), serial());
    plan.reconstruction.targets = WindowTargets::Local;
    let restarts = |plan: &Plan| {
        let begin = Step::Copy { from: State::Inputs, to: State::Dense };
        schedule(plan, &spec).steps(0..1).iter().filter(|step| **step == begin).count()
    };
    assert_eq!(restarts(&plan), 2);
    plan.reconstruction.granularity = Granularity::Block;
    assert_eq!(restarts(&plan), 1);
    assert_eq!(schedule(&plan, &spec).kept().collect::<Vec<_>>(), [State::Inputs]);
    plan.reconstruction.granularity = Granularity::Matrix;
    assert_eq!(restarts(&plan), 0);
    assert!(!schedule(&plan, &spec).dense_stream);
}

#[test]
fn what_comes_before_blocks_that_go_is_trained_to_give_what_they_gave() {
    let plan = Plan::default();
    let passed = |steps: &[Step]| -> Vec<usize> {
        let numbers = steps.iter().filter_map(|step| match step {
            &Step::Pass { state: State::Dense, number } => Some(number),
            _ => None,
        });
        numbers.collect()
    };
    let without = |numbers: &[usize]| {
        let config = serde_json::json!({"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 6,
            "num_attention_heads": 2, "intermediate_size": 16});
        describe(Path::new("config.json"), &config).expect("a llama").without(numbers)
    };
    let spec = without(&[2, 3, 5]);
    assert_eq!((0..3).map(|block| spec.number(block)).collect::<Vec<_>>(), [0, 1, 4]);
    assert_eq!((0..=3).map(|block| spec.gone_before(block)).collect::<Vec<_>>(), [0..0, 1..1, 2..4, 5..6]);
    assert_eq!(spec.tensor_name(2, 0), "model.layers.4.input_layernorm.weight");
    let names = ["model.layers.4.x", "model.layers.3.x", "model.layers.6.x", "model.norm", "model.layers.x"];
    let renumbered = names.map(|name| spec.renumbered(name));
    let expected =
        [Some("model.layers.2.x"), None, Some("model.layers.3.x"), Some("model.norm"), Some("model.layers.x")];
    assert_eq!(renumbered, expected.map(|name| name.map(String::from)));
    let schedule = self::schedule(&plan, &spec);
    assert_eq!([0, 1, 2].map(|block| passed(&schedule.steps(block..block + 1))), [vec![], vec![2, 3], vec![5]]);
    // after its own stage, before it trains
    let steps = schedule.steps(1..2);
    let place = |wanted: &Step| steps.iter().rposition(|step| step == wanted).expect("a step");
    let window = Trained::Branches(vec![branch(1, 1)]);
    let train = Step::Train { window, reads: State::Inputs, targets: State::Dense };
    let moved = moved(State::Dense, at(1, 1), Weights::Dense);
    assert!(place(&moved) < place(&Step::Pass { state: State::Dense, number: 2 }));
    assert!(place(&Step::Pass { state: State::Dense, number: 3 }) < place(&train));
    let first = without(&[0, 1]);
    assert_eq!(passed(&self::schedule(&plan, &first).steps(0..1)), [0, 1]);
}
