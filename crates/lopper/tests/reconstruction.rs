//! Windows of every size, every set of parameters, and the whole model retrained, from the plan to the files.

use crate::demo;

use lopper::autograd::optimizer::OptimizerKind;
use lopper::model::{Block, Kind};
use lopper::plan::{Granularity, Inputs, Plan, PruningGranularity, RetrainingObjective, WindowTargets};
use lopper::reconstruction::Loss;
use lopper::report::{Report, WindowFacts};
use lopper::tensor::Tensor;

use crate::tiny::Tiny;
use demo::{Demo, weights};

/// The demo has four blocks: a window of three leaves one over.
const SIZES: [Granularity; 6] = [
    Granularity::Matrix,
    Granularity::Submodule,
    Granularity::Block,
    Granularity::Blocks(2),
    Granularity::Blocks(3),
    Granularity::Model,
];

/// A run of a fraction of a second.
fn short(demo: &Demo) -> Plan {
    let mut plan = demo.plan();
    (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (6, 2, Some(32));
    (plan.evaluation.seqlen, plan.evaluation.windows) = (Some(64), Some(2));
    (plan.pruning.compensation, plan.reconstruction.epochs) = ("none".into(), 1);
    plan
}

/// No window of a run ended worse than it began.
fn check_windows(report: &Report, count: usize, what: &str) {
    assert_eq!(report.windows.len(), count, "{what}");
    for window in &report.windows {
        let (before, after) = (window.outcome.held_out_before, window.outcome.held_out_after);
        assert!(after <= before && before.is_some(), "{what}: {window:?}");
    }
    assert!((report.model.sparsity() - 0.5).abs() < 0.01, "{what}: {}", report.model.sparsity());
}

#[test]
fn windows_of_every_size() {
    let demo = Demo::new();
    let counts = [28, 8, 4, 2, 2, 1];
    for (granularity, count) in SIZES.into_iter().zip(counts) {
        let mut ways = vec![(Inputs::Pruned, WindowTargets::Dense)];
        if [Granularity::Matrix, Granularity::Blocks(3)].contains(&granularity) {
            ways.extend([(Inputs::Pruned, WindowTargets::Local), (Inputs::Dense, WindowTargets::Dense)]);
        }
        for (inputs, targets) in ways {
            let mut plan = short(&demo);
            plan.reconstruction.granularity = granularity;
            (plan.calibration.inputs, plan.reconstruction.targets) = (inputs, targets);
            let what = format!("{granularity} {inputs:?} {targets:?}");
            let report = demo.prune(&plan, &what).expect("a valid run");
            check_windows(&report, count, &what);
            let better = |window: &WindowFacts| window.outcome.held_out_after < window.outcome.held_out_before;
            assert!(
                report.windows.iter().filter(|window| better(window)).count() * 4 >= 3 * count,
                "{what}: {report:?}"
            );
        }
    }
}

#[test]
fn every_set_of_parameters() {
    let demo = Demo::new();
    let sizes = [(Granularity::Matrix, 28), (Granularity::Blocks(2), 2)].into_iter().cycle();
    let sets = ["weights", "norm", "lora", "masklora+norm", "scalelora", "spp", "full+masklora"];
    for (set, (granularity, count)) in sets.into_iter().zip(sizes) {
        let mut plan = short(&demo);
        plan.reconstruction.granularity = granularity;
        plan.reconstruction.parameters = set.parse().expect("known");
        let what = format!("{set} {granularity}");
        check_windows(&demo.prune(&plan, &what).expect("a valid run"), count, &what);
    }
}

#[test]
fn settings_of_windows_combine() {
    let demo = Demo::new();
    let mut plan = short(&demo);
    (plan.pruning.granularity, plan.reconstruction.granularity) = (PruningGranularity::Block, Granularity::Block);
    (plan.reconstruction.loss, plan.reconstruction.optimizer) = (Loss::Cosine, OptimizerKind::Adafactor);
    (plan.reconstruction.accumulate, plan.reconstruction.clip) = (2, Some(1.0));
    check_windows(&demo.prune(&plan, "combined").expect("a valid run"), 4, "combined");
    (plan.pruning.criterion, plan.reconstruction.loss) = (Some("magnitude".into()), Loss::MseNormalized);
    (plan.reconstruction.granularity, plan.reconstruction.optimizer) = (Granularity::Model, OptimizerKind::Sgd);
    check_windows(&demo.prune(&plan, "other").expect("a valid run"), 1, "other");
}

#[test]
fn a_rate_of_zero_changes_nothing_whatever_the_size() {
    let demo = Demo::new();
    let mut plan = short(&demo);
    (plan.pruning.compensation, plan.reconstruction.learning_rate) = ("joint".into(), 0.0);
    plan.reconstruction.granularity = Granularity::None;
    demo.prune(&plan, "none").expect("a valid run");
    for granularity in SIZES {
        plan.reconstruction.granularity = granularity;
        plan.reconstruction.parameters = "full+lora".parse().expect("known");
        (plan.retraining.objective, plan.retraining.learning_rate) = (RetrainingObjective::Ce, 0.0);
        (plan.retraining.parameters, plan.retraining.epochs) = ("scalelora+norm".parse().expect("known"), 1);
        let out = format!("zero-{granularity}");
        demo.prune(&plan, &out).expect("a valid run");
        assert!(weights(&demo.path(&out)) == weights(&demo.path("none")), "{granularity}");
    }
}

#[test]
fn retraining_repairs_what_windows_left() {
    let demo = Demo::new();
    let mut plan = short(&demo);
    (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (32, 8, Some(64));
    (plan.evaluation.ladder, plan.evaluation.windows) = (true, Some(16));
    let mut retrained = |granularity, objective| {
        (plan.reconstruction.granularity, plan.retraining.objective) = (granularity, objective);
        let out = format!("{granularity}-{objective:?}");
        let report = demo.prune(&plan, &out).expect("a valid run");
        check_windows(&report, if granularity == Granularity::None { 1 } else { 9 }, &out);
        let rungs = report.evaluation.into_iter();
        rungs.map(|rung| (rung.name, rung.scores.texts[0].score.perplexity)).collect::<Vec<_>>()
    };
    for objective in [RetrainingObjective::Ce, RetrainingObjective::Kl, RetrainingObjective::Logits] {
        let scores = retrained(Granularity::None, objective);
        assert!(scores[0].1 < scores[2].1 && scores[2].1 < scores[1].1, "{objective:?}: {scores:?}");
    }
    let scores = retrained(Granularity::Submodule, RetrainingObjective::Kl);
    let names: Vec<&str> = scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["dense", "pruned", "reconstructed", "retrained"]);
    assert!(scores.is_sorted_by(|a, b| a.0 == "dense" || b.1 < a.1), "{scores:?}");
}

#[test]
fn a_model_pruned_before_keeps_its_zeros() {
    let demo = Demo::new();
    let mut plan = short(&demo);
    plan.reconstruction.granularity = Granularity::None;
    demo.prune(&plan, "pruned").expect("a valid run");
    plan.retraining.objective = RetrainingObjective::Ce;
    lopper::prune::prune(
        &plan,
        &demo.open("pruned").expect("a decoder"),
        &demo.path("repaired"),
        &mut lopper::progress::Silent,
    )
    .expect("a valid run");
    let [pruned, repaired] = ["pruned", "repaired"].map(|name| demo.open(name).expect("a decoder"));
    let mut moved = 0;
    for id in pruned.spec().linear_ids() {
        let [before, after] = [&pruned, &repaired].map(|decoder| decoder.load_weight(id).expect("weight"));
        let pairs = || before.host().iter().zip(after.host());
        assert!(pairs().all(|(&before, &after)| before != 0.0 || after == 0.0), "{id:?}");
        moved += pairs().filter(|(before, after)| before.to_bits() != after.to_bits()).count();
    }
    assert!(moved > 0, "retraining should change something");
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let demo = Demo::new();
    let outputs = [1, 2].map(|threads| {
        let mut plan = short(&demo);
        plan.compute.threads = Some(threads);
        plan.reconstruction.granularity = Granularity::Blocks(2);
        plan.reconstruction.parameters = "norm+masklora".parse().expect("known");
        (plan.reconstruction.optimizer, plan.reconstruction.loss) = (OptimizerKind::Adafactor, Loss::Cosine);
        (plan.reconstruction.clip, plan.retraining.objective) = (Some(0.1), RetrainingObjective::Kl);
        let out = format!("out-{threads}");
        demo.prune(&plan, &out).expect("a valid run");
        weights(&demo.path(&out))
    });
    assert!(outputs[0] == outputs[1]);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let demo = Demo::new();
    let refused = |change: &dyn Fn(&mut Plan), named: &str| {
        let mut plan = short(&demo);
        change(&mut plan);
        let error = demo.prune(&plan, "out").expect_err("refused").to_string();
        assert!(error.contains(named), "{error}");
    };
    refused(&|plan| plan.reconstruction.rank = 0, "reconstruction.rank");
    refused(&|plan| plan.reconstruction.alpha = f32::NAN, "reconstruction.alpha");
    refused(&|plan| plan.reconstruction.accumulate = 0, "reconstruction.accumulate");
    refused(&|plan| plan.reconstruction.clip = Some(0.0), "reconstruction.clip");
    refused(&|plan| plan.reconstruction.patience = Some(0), "reconstruction.patience");
    refused(&|plan| plan.retraining.temperature = 0.0, "retraining.temperature");
    refused(&|plan| plan.retraining.learning_rate = 1.0, "retraining.learning_rate");
    refused(&|plan| plan.retraining.batch = 0, "retraining.batch");
}

/// Routers, filters, recurrences and sinks train where they are asked for, and are otherwise as they were.
#[test]
fn special_tensors_train_where_they_are_asked_for() {
    for (family, set, kind) in [
        ("gpt_oss", "full+sink", Kind::Sink),
        ("gpt_oss", "full+router", Kind::Router),
        ("mamba2", "full+state", Kind::State),
        ("lfm2", "full+conv", Kind::Convolution),
    ] {
        let tiny = Tiny::new(family);
        let mut plan = tiny.plan();
        plan.reconstruction.granularity = Granularity::Submodule;
        let special = |folder: &str, kind: Kind| -> Vec<Tensor> {
            let model = tiny.open(folder);
            let blocks = (0..model.spec().blocks.len()).map(|block| model.load_block(block).expect("a block"));
            let of = |block: Block| {
                let own = block.spec.tensors.iter().zip(&block.tensors);
                own.filter(|(spec, _)| spec.kind == kind).map(|(_, own)| own.clone()).collect::<Vec<_>>()
            };
            blocks.flat_map(of).collect()
        };
        for (set, trained) in [("full", None), (set, Some(kind))] {
            plan.reconstruction.parameters = set.parse().expect("known");
            tiny.prune(&plan, set);
            for kind in Kind::SPECIAL {
                let changed = special("model", kind) != special(set, kind);
                assert_eq!(changed, trained == Some(kind), "{family} {set} {kind:?}");
            }
        }
    }
}
