//! Runs that are interrupted after any block go on and end with the same bytes, whatever they do.

use crate::demo;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lopper::checkpoint::Checkpoint;
use lopper::explain::{Estimate, Texts};
use lopper::model::DecoderSpec;
use lopper::plan::{ByteSize, ComputeDtype, Granularity, Inputs, Plan, Ratios, RetrainingObjective, WindowTargets};
use lopper::progress::{Event, Silent};
use lopper::prune::{prune, redo_from, unfinished};
use lopper::schedule::Run;

use demo::{Demo, weights};

/// Plans that keep different things between windows.
fn plans(demo: &Demo) -> Vec<(&'static str, Plan)> {
    let with = |change: fn(&mut Plan)| {
        let mut plan = demo.short();
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
                (plan.pruning.criterion, plan.pruning.compensation) = (Some("magnitude".into()), "none".into());
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
    let model = demo.open("model").expect("a decoder");
    for (place, (what, mut plan)) in plans(&demo).into_iter().enumerate() {
        let whole = format!("whole-{place}");
        let report = demo.prune(&plan, &whole).expect("a valid run");
        let out = demo.path(&format!("out-{place}"));
        let mut stops = 0;
        // each time it gets one block, or one other step, further, whatever the number of threads
        let resumed = loop {
            let mut steps = 0;
            let mut pruning = false;
            plan.compute.threads = Some(1 + stops % 3);
            let mut stop = |event: Event| {
                if let Event::Stage { name } = event {
                    pruning = name.starts_with("pruning") || name.starts_with("retraining");
                }
                if pruning && matches!(event, Event::Progress(_)) {
                    steps += 1;
                    assert!(steps < 2 || stops >= 12, "interrupted");
                }
            };
            let run = AssertUnwindSafe(|| prune(&plan, &model, &out, &mut stop));
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

/// The stored bytes of every matrix of a block.
fn block(demo: &Demo, out: &str, index: usize) -> Vec<u8> {
    let checkpoint = Checkpoint::open(&demo.path(out)).expect("a checkpoint");
    let prefix = format!("model.layers.{index}.");
    let names: Vec<String> = checkpoint.names().filter(|name| name.starts_with(&prefix)).map(Into::into).collect();
    assert!(names.len() > 6);
    names.iter().flat_map(|name| checkpoint.bytes(name).expect("there")).collect()
}

#[test]
fn blocks_are_done_again_with_other_settings() {
    let demo = Demo::new();
    let model = demo.open("model").expect("a decoder");
    for (place, (what, plan)) in plans(&demo).into_iter().enumerate().filter(|(_, (what, _))| *what != "retrained") {
        let [whole, again, other] = ["whole", "again", "other"].map(|name| format!("{name}-{place}"));
        demo.prune(&plan, &whole).expect("a valid run");
        // the same settings give the same bytes, from states that are computed anew
        demo.stop_after(if what.starts_with("three") { 1 } else { 3 }, &plan, &again);
        redo_from(1, &plan, &model, &demo.path(&again), &mut Silent).unwrap_or_else(|error| panic!("{what}: {error}"));
        if !what.starts_with("three") {
            assert!(weights(&demo.path(&whole)) == weights(&demo.path(&again)), "{what}: other bytes");
        }
        // others leave the first block as it was, and are obeyed after it
        demo.stop_after(if what.starts_with("three") { 1 } else { 2 }, &plan, &other);
        let mut pattern = plan.clone();
        (pattern.pruning.pattern, pattern.pruning.ratios) = (Some("2:4".into()), Ratios::Uniform);
        let report = redo_from(1, &pattern, &model, &demo.path(&other), &mut Silent).expect("a valid run");
        assert!(block(&demo, &whole, 0) == block(&demo, &other, 0), "{what}: the first block");
        assert!(block(&demo, &whole, 1) != block(&demo, &other, 1), "{what}: the second block");
        let asked =
            |of: usize| report.matrices.iter().filter(move |facts| facts.block == of).map(|facts| facts.pattern);
        assert!(asked(1).all(|pattern| pattern.is_some_and(|pattern| pattern.to_string() == "2:4")), "{what}");
        assert!(asked(0).all(|pattern| pattern.is_some_and(|pattern| pattern.to_string() != "2:4")), "{what}");
        assert!(report.warnings.iter().any(|warning| warning.contains("the first 1 blocks are of an earlier run")));
    }
}

/// What `auto` stands for is settled when a run begins.
#[test]
fn a_run_goes_on_in_the_arithmetic_it_was_begun_in() {
    let demo = Demo::new();
    let model = demo.open("model").expect("a decoder");
    let mut plan = demo.short();
    plan.compute.dtype = ComputeDtype::Auto;
    let here = plan.compute.dtype.chosen();
    demo.stop_after(2, &plan, "out");
    plan.compute.dtype = if here == ComputeDtype::F32 { ComputeDtype::Bf16 } else { ComputeDtype::F32 };
    let error = demo.prune(&plan, "out").expect_err("the other arithmetic").to_string();
    assert!(error.contains("computed otherwise") && error.contains(here.name()), "{error}");
    plan.compute.dtype = here;
    let mut goes_on = false;
    let mut note = |event: Event| {
        goes_on |= matches!(event, Event::Warning(warning) if warning.starts_with("going on after 2 finished blocks"));
    };
    let report = prune(&plan, &model, &demo.path("out"), &mut note).expect("a valid run");
    assert!(goes_on);
    assert_eq!(report.plan.compute.dtype, here);
}

#[test]
fn what_cannot_be_done_again_is_refused() {
    let demo = Demo::new();
    let (model, plan) = (demo.open("model").expect("a decoder"), demo.short());
    let refusal = |blocks: usize, plan: &Plan| {
        redo_from(blocks, plan, &model, &demo.path("out"), &mut Silent).expect_err("refused").to_string()
    };
    assert!(refusal(1, &plan).contains("no unfinished run is here"));
    demo.stop_after(2, &plan, "out");
    assert!(refusal(3, &plan).contains("it has 2 finished blocks"));
    let mut other = plan.clone();
    other.calibration.seed = 5;
    assert!(refusal(1, &other).contains("finished blocks of another run"));
    prune(&plan, &model, &demo.path("out"), &mut Silent).expect("nothing was lost");
}

/// A run whose hidden states are most of its memory, and the budget that sends them to the disk.
fn large(demo: &Demo, spec: &DecoderSpec) -> (Plan, ByteSize) {
    let mut plan = demo.short();
    (plan.calibration.samples, plan.evaluation.ladder) = (400, true);
    plan.retraining.objective = RetrainingObjective::Kl;
    (plan.retraining.epochs, plan.reconstruction.epochs) = (1, 2);
    let texts = Texts::of(&plan, spec, &[100_000]);
    let run = Run::new(&plan, spec).expect("a valid plan");
    let estimate = |memory| Estimate::new(&run, texts, memory);
    let budget = estimate(None).peak() - 1;
    assert!(estimate(Some(budget)).scratch > 0 && estimate(Some(budget)).peak() < budget);
    // a margin of a sixteenth is taken off
    (plan, ByteSize(budget + budget / 15))
}

#[test]
fn states_that_wait_on_the_disk_change_nothing() {
    let demo = Demo::new();
    let decoder = demo.open("model").expect("a decoder");
    let (mut plan, budget) = large(&demo, decoder.spec());
    for granularity in [Granularity::Submodule, Granularity::Blocks(2)] {
        plan.reconstruction.granularity = granularity;
        plan.compute.memory = None;
        demo.prune(&plan, "memory").expect("a valid run");
        plan.compute.memory = Some(budget);
        demo.prune(&plan, "disk").expect("a valid run");
        assert!(weights(&demo.path("memory")) == weights(&demo.path("disk")), "{granularity:?}");
        for out in ["memory", "disk"] {
            std::fs::remove_dir_all(demo.path(out)).expect("removed");
        }
    }
    plan.compute.memory = Some(ByteSize(budget.0 / 4));
    let error = demo.prune(&plan, "out").expect_err("too little");
    assert!(error.to_string().contains("more than the") && error.hint().is_some_and(|hint| hint.contains("--memory")));
    assert!(!demo.path("out").exists());
}
