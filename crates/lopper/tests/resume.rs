//! Runs that are interrupted after any block go on and end with the same bytes, whatever they do.

mod demo;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lopper::plan::{Granularity, Inputs, Plan, Ratios, RetrainingObjective, WindowTargets};
use lopper::progress::Event;
use lopper::prune::{prune, unfinished};

use demo::{Demo, weights};

/// A run of a fraction of a second, on four blocks.
fn short(demo: &Demo) -> Plan {
    let mut plan = demo.plan();
    (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (6, 2, Some(32));
    (plan.evaluation.seqlen, plan.evaluation.windows) = (Some(64), Some(2));
    plan.reconstruction.epochs = 1;
    plan
}

/// Plans that keep different things between windows.
fn plans(demo: &Demo) -> Vec<(&'static str, Plan)> {
    let with = |change: fn(&mut Plan)| {
        let mut plan = short(demo);
        change(&mut plan);
        plan
    };
    vec![
        ("default", with(|_| ())),
        ("dense inputs", with(|plan| plan.calibration.inputs = Inputs::Dense)),
        ("local targets", with(|plan| plan.reconstruction.targets = WindowTargets::Local)),
        ("matrices", with(|plan| plan.reconstruction.granularity = Granularity::Matrix)),
        ("three blocks, then one", with(|plan| plan.reconstruction.granularity = Granularity::Blocks(3))),
        ("nothing trained", with(|plan| plan.reconstruction.granularity = Granularity::None)),
        ("ratios by outliers", with(|plan| plan.pruning.ratios = Ratios::Owl)),
        (
            "no calibration",
            with(|plan| {
                plan.reconstruction.granularity = Granularity::None;
                (plan.pruning.criterion, plan.pruning.compensation) = ("magnitude".into(), "none".into());
            }),
        ),
        (
            "retrained",
            with(|plan| {
                plan.retraining.objective = RetrainingObjective::Ce;
                plan.evaluation.ladder = true;
            }),
        ),
    ]
}

#[test]
fn every_kind_of_run_goes_on() {
    let demo = Demo::new();
    for (place, (what, plan)) in plans(&demo).into_iter().enumerate() {
        let whole = format!("whole-{place}");
        let report = demo.prune(&plan, &whole).expect("a valid run");
        let out = demo.path(&format!("out-{place}"));
        let mut stops = 0;
        // each time it gets one block, or one other step, further
        let resumed = loop {
            let mut steps = 0;
            let mut pruning = false;
            let mut stop = |event: Event| {
                if let Event::Stage { name } = event {
                    pruning = name.starts_with("pruning") || name.starts_with("retraining");
                }
                if pruning && matches!(event, Event::Progress(_)) {
                    steps += 1;
                    assert!(steps < 2 || stops >= 12, "interrupted");
                }
            };
            let run = AssertUnwindSafe(|| prune(&plan, &demo.path("model"), &out, &mut stop));
            match catch_unwind(run) {
                Ok(finished) => break finished.unwrap_or_else(|error| panic!("{what}: {error}")),
                Err(_) => stops += 1,
            }
            assert!(!out.exists() && unfinished(&out).is_some(), "{what}");
        };
        assert!(stops > 0, "{what}");
        assert!(weights(&demo.path(&whole)) == weights(&out), "{what}: other bytes after {stops} stops");
        assert!(unfinished(&out).is_none(), "{what}");
        assert_eq!(format!("{:?}", resumed.matrices), format!("{:?}", report.matrices), "{what}");
        assert_eq!(resumed.windows.len(), report.windows.len(), "{what}");
    }
}
