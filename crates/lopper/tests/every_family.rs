//! Everything that can be asked of a run, asked of the tiny checkpoint of every family, and of the variants whose blocks are
//! built otherwise.

use crate::tiny;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lopper::calibration::HiddenDtype;
use lopper::explain::{Estimate, Texts};
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use lopper::model::{BlockSpec, Branch, FAMILIES};
use lopper::plan::{ByteSize, Granularity, Inputs, Plan, Ratios, RetrainingObjective, WindowTargets};
use lopper::progress::Event;
use lopper::prune::{prune, unfinished};
use lopper::report::{Report, WindowFacts};
use lopper::schedule::Run;
use lopper::sparsity::Extent;
use tiny::{Tiny, WORDS};

/// Biases beside norms of heads; norms after the sums and a narrow embedding; neither biases nor weights of norms; one branch after
/// the other; names without that of the base; layer norms of heads; two norms side by side and queries in groups.
const VARIANTS: [&str; 7] =
    ["qwen3/biased", "opt/post_norm", "opt/bare", "gpt_neox/serial", "gpt2/bare", "phi/normed", "falcon/grouped"];

const GRANULARITIES: [Granularity; 6] = [
    Granularity::None,
    Granularity::Matrix,
    Granularity::Submodule,
    Granularity::Block,
    Granularity::Blocks(2),
    Granularity::Model,
];

fn everything() -> impl Iterator<Item = Tiny> {
    FAMILIES.iter().map(|family| family.name).chain(VARIANTS).map(Tiny::new)
}

/// How many windows train.
fn windows(tiny: &Tiny, granularity: Granularity) -> usize {
    let blocks = &tiny.spec.blocks;
    match granularity {
        Granularity::None => 0,
        Granularity::Matrix => tiny.spec.linear_ids().count(),
        Granularity::Submodule => blocks.iter().map(|block| block.branch_ids(0).count()).sum(),
        Granularity::Block => blocks.len(),
        Granularity::Blocks(span) => blocks.len().div_ceil(span),
        Granularity::Model => 1,
    }
}

/// No window ended worse than it began.
fn check_windows(report: &Report, count: usize, what: &str) {
    assert_eq!(report.windows.len(), count, "{what}");
    for window in &report.windows {
        let (before, after) = (window.outcome.held_out_before, window.outcome.held_out_after);
        assert!(before.is_some() && after <= before, "{what}: {window:?}");
    }
}

/// A plan with a change.
fn with(tiny: &Tiny, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = tiny.plan();
    change(&mut plan);
    plan
}

/// Every granularity in every family, and from one family to the next every pattern and every way to show a window what it should give.
#[test]
fn windows_of_every_size() {
    for (turn, tiny) in everything().enumerate() {
        for (place, granularity) in GRANULARITIES.into_iter().enumerate() {
            let plan = with(&tiny, |plan| {
                plan.reconstruction.granularity = granularity;
                let pattern = Some("2:4".into());
                match (turn + place) % 4 {
                    0 | 2 => (),
                    1 => (plan.pruning.pattern, plan.calibration.inputs) = (pattern, Inputs::Dense),
                    _ => (plan.pruning.pattern, plan.reconstruction.targets) = (pattern, WindowTargets::Local),
                }
            });
            let out = format!("by {granularity}");
            let report = tiny.prune(&plan, &out);
            check_windows(&report, windows(&tiny, granularity), &format!("{} {out}", plan.model));
            assert!((report.model.sparsity() - 0.5).abs() < 0.03, "{}", report.model.sparsity());
        }
    }
}

/// Every criterion in every family, and from one family to the next every compensation with it: a layer problem knows of no family.
#[test]
fn every_method() {
    for (place, tiny) in everything().enumerate() {
        for (which, criterion) in CRITERIA.iter().enumerate() {
            let compensation = &COMPENSATIONS[(place + which) % COMPENSATIONS.len()];
            let of_groups = criterion.name == "mrp";
            let plan = with(&tiny, |plan| {
                (plan.pruning.criterion, plan.pruning.compensation) =
                    (Some(criterion.name.into()), compensation.name.into());
                plan.pruning.pattern = of_groups.then(|| "2:4".into());
            });
            let report = tiny.prune(&plan, &format!("{}-{}", criterion.name, compensation.name));
            for facts in &report.matrices {
                let [masked, repaired] = [facts.solution.error_pruned, facts.solution.error_compensated];
                assert!(repaired.is_none() || repaired <= masked, "{}: {facts:?}", plan.model);
            }
            assert!(report.windows.is_empty());
        }
    }
}

#[test]
fn shares_that_are_measured() {
    for tiny in everything() {
        for (ratios, scope) in [(Ratios::Owl, Extent::Matrix), (Ratios::Uniform, Extent::Model)] {
            let plan = with(&tiny, |plan| {
                (plan.pruning.ratios, plan.pruning.scope) = (ratios, Some(scope));
                plan.pruning.owl_threshold = 2.0;
            });
            let report = tiny.try_prune(&plan, &format!("{ratios:?} {scope:?}")).expect("a valid run");
            assert!(report.model.zeros >= report.model.target, "{}: {:?}", plan.model, report.model);
            let shares: Vec<f64> = report.matrices.iter().map(|facts| facts.sparsity).collect();
            assert!(shares.iter().any(|share| (share - shares[0]).abs() > 1e-3), "{}: {shares:?}", plan.model);
        }
    }
}

/// Branches that have a bias or a norm of their own: the attention of GPT-J has neither, its norm trains with the feed-forward layer.
fn with_bias_or_norm(tiny: &Tiny) -> usize {
    let of_block = |block: &BlockSpec| {
        let branches = block.stages.iter().flat_map(|stage| &stage.branches);
        let has = |branch: &&Branch| {
            !branch.others.is_empty() || branch.linears.iter().any(|&linear| block.linears[linear].bias.is_some())
        };
        branches.filter(has).count()
    };
    tiny.spec.blocks.iter().map(|block| of_block(block)).sum()
}

#[test]
fn every_set_of_parameters() {
    for tiny in everything() {
        for granularity in [Granularity::Submodule, Granularity::Blocks(2)] {
            for set in ["full", "bias+norm", "masklora+norm"] {
                let plan = with(&tiny, |plan| {
                    plan.reconstruction.granularity = granularity;
                    (plan.reconstruction.parameters, plan.reconstruction.rank) = (set.parse().expect("known"), 2);
                });
                let out = format!("{set} {granularity}");
                let what = format!("{} {out}", plan.model);
                // neither biases nor weights of norms are there
                if set == "bias+norm" && ["opt/bare", "olmo"].contains(&plan.model.as_str()) {
                    let error = tiny.try_prune(&plan, &out).expect_err("nothing to train").to_string();
                    assert!(error.contains("reconstruction.parameters"), "{what}: {error}");
                    continue;
                }
                let report = tiny.prune(&plan, &out);
                check_windows(&report, windows(&tiny, granularity), &what);
                // a random model need not find a way that helps other texts
                let tries = |window: &&WindowFacts| !window.outcome.losses.is_empty() || window.outcome.restored > 0;
                let tried = report.windows.iter().filter(tries).count();
                let all = report.windows.len();
                let alone = set == "bias+norm" && granularity == Granularity::Submodule;
                assert_eq!(tried, if alone { with_bias_or_norm(&tiny) } else { all }, "{what}");
            }
        }
    }
}

#[test]
fn parameters_that_a_model_has_none_of_are_refused() {
    for folder in ["opt/bare", "olmo"] {
        let tiny = Tiny::new(folder);
        let plan = with(&tiny, |plan| {
            (plan.retraining.objective, plan.retraining.parameters) =
                (RetrainingObjective::Ce, "norm".parse().expect("known"));
        });
        let error = tiny.try_prune(&plan, "nothing").expect_err("nothing to train").to_string();
        assert!(error.contains("retraining.parameters"), "{folder}: {error}");
    }
}

#[test]
fn retraining() {
    for tiny in everything() {
        for (objective, set) in [
            (RetrainingObjective::Ce, "full"),
            (RetrainingObjective::Kl, "full"),
            (RetrainingObjective::Logits, "masklora+norm"),
        ] {
            let plan = with(&tiny, |plan| {
                (plan.retraining.objective, plan.retraining.parameters) = (objective, set.parse().expect("known"));
                (plan.reconstruction.rank, plan.retraining.epochs) = (2, 2);
            });
            let report = tiny.prune(&plan, &format!("{objective:?}"));
            check_windows(&report, 1, &format!("{} {objective:?}", plan.model));
            assert_eq!(report.windows[0].window, "model");
            assert_eq!(report.evaluation[1].name, "retrained");
        }
    }
}

/// A run in which most kinds of steps are there.
fn busy(plan: &mut Plan) {
    plan.reconstruction.granularity = Granularity::Submodule;
    plan.reconstruction.parameters = "full".parse().expect("known");
    plan.retraining.objective = RetrainingObjective::Kl;
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    for tiny in everything() {
        for granularity in [Granularity::Submodule, Granularity::Blocks(2)] {
            let outputs = [1, 2].map(|threads| {
                let mut plan = with(&tiny, busy);
                (plan.compute.threads, plan.reconstruction.granularity) = (Some(threads), granularity);
                let out = format!("{granularity} {threads}");
                tiny.prune(&plan, &out);
                tiny.weights(&out)
            });
            assert!(outputs[0] == outputs[1], "{} {granularity}", tiny.plan().model);
        }
    }
}

#[test]
fn interrupted_runs_go_on() {
    for tiny in everything() {
        let plan = with(&tiny, busy);
        let whole = tiny.prune(&plan, "whole");
        let (model, out) = (tiny.open("model"), tiny.path("out"));
        let mut stops = 0;
        let resumed = loop {
            let (mut steps, mut working) = (0, false);
            // each time it gets one step further
            let mut stop = |event: Event| match event {
                Event::Stage { name } => working = name.starts_with("pruning") || name.starts_with("retraining"),
                Event::Progress(_) if working => {
                    steps += 1;
                    assert!(steps < 2 || stops >= 12, "interrupted");
                }
                _ => (),
            };
            let run = AssertUnwindSafe(|| prune(&plan, &model, &out, &mut stop));
            match catch_unwind(run) {
                Ok(finished) => break finished.unwrap_or_else(|error| panic!("{}: {error}", plan.model)),
                Err(_) => stops += 1,
            }
            assert!(!out.exists() && unfinished(&out).is_some(), "{}", plan.model);
        };
        assert!(stops > 0 && unfinished(&out).is_none(), "{}", plan.model);
        assert!(tiny.weights("whole") == tiny.weights("out"), "{}: other bytes after {stops} stops", plan.model);
        assert_eq!(format!("{:?}", resumed.matrices), format!("{:?}", whole.matrices), "{}", plan.model);
        assert_eq!(resumed.windows.len(), whole.windows.len(), "{}", plan.model);
    }
}

#[test]
fn states_that_wait_on_the_disk_change_nothing() {
    // of every second family: states are the same numbers in each
    for family in FAMILIES.iter().step_by(2) {
        let tiny = Tiny::with_words(family.name, 8_000);
        let mut plan = with(&tiny, busy);
        (plan.calibration.samples, plan.compute.hidden_states) = (300, HiddenDtype::F32);
        (plan.reconstruction.batch, plan.retraining.batch) = (32, 32);
        let texts = Texts::of(&plan, &tiny.spec, &[8_000]);
        let run = Run::new(&plan, &tiny.spec).expect("a valid plan");
        let estimate = |memory| Estimate::new(&run, texts, memory);
        let budget = estimate(None).peak() - 1;
        let streamed = estimate(Some(budget));
        assert!(streamed.scratch > 0 && streamed.peak() <= budget, "{}: {streamed:?}", plan.model);
        tiny.prune(&plan, "memory");
        // a margin of a sixteenth is taken off
        plan.compute.memory = Some(ByteSize(budget + budget / 15));
        tiny.prune(&plan, "disk");
        assert!(tiny.weights("memory") == tiny.weights("disk"), "{}", plan.model);
    }
}

#[test]
fn what_a_run_takes_is_known_before() {
    for tiny in everything() {
        for granularity in GRANULARITIES {
            let plan = with(&tiny, |plan| {
                busy(plan);
                plan.reconstruction.granularity = granularity;
            });
            let texts = Texts::of(&plan, &tiny.spec, &[WORDS]);
            assert_eq!(texts.scored_tokens, 48);
            let estimate = Estimate::new(&Run::new(&plan, &tiny.spec).expect("a valid plan"), texts, None);
            assert!(estimate.peak() > 0 && estimate.phases.iter().all(|phase| phase.bytes() > 0), "{}", plan.model);
            assert!(estimate.flops() > 0.0 && estimate.work.iter().all(|work| work.flops.is_finite()));
            let trains = estimate.phases.iter().any(|phase| phase.name == "training a window");
            assert_eq!(trains, granularity != Granularity::None, "{}: {granularity}", plan.model);
        }
    }
}
