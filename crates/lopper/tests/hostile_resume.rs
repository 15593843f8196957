//! What an interrupted run has left, damaged or exchanged: the next run refuses it, says which file it is, and goes on once it
//! is as it was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use demo::Demo;
use lopper::Error;
use lopper::plan::Plan;
use lopper::progress::{Event, Silent};
use lopper::prune::{check_journal, prune, unfinished};

/// A run of a fraction of a second.
fn short(demo: &Demo) -> Plan {
    let mut plan = demo.plan();
    (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (4, 1, Some(32));
    (plan.evaluation.seqlen, plan.evaluation.windows) = (Some(64), Some(1));
    plan.reconstruction.epochs = 1;
    plan
}

/// A run stopped after its first block, and where it has left that.
fn interrupted(demo: &Demo, plan: &Plan) -> PathBuf {
    let mut pruning = false;
    let mut stop = |event: Event| match event {
        Event::Stage { name } => pruning = name.starts_with("pruning"),
        Event::Progress(_) => assert!(!pruning, "interrupted"),
        _ => {}
    };
    let run = AssertUnwindSafe(|| prune(plan, &demo.path("model"), &demo.path("out"), &mut stop));
    assert!(catch_unwind(run).is_err());
    unfinished(&demo.path("out")).unwrap()
}

/// The error of the same run when a file it has left holds something else.
fn refused(demo: &Demo, plan: &Plan, file: &Path, contents: &[u8]) -> String {
    let whole = fs::read(file).unwrap();
    fs::write(file, contents).unwrap();
    let error = prune(plan, &demo.path("model"), &demo.path("out"), &mut Silent).unwrap_err();
    fs::write(file, whole).unwrap();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("remove"), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(file.file_name().unwrap().to_str().unwrap()), "{message}");
    message
}

/// Contents with their digest, as hidden states have it.
fn sealed(contents: &[u8]) -> Vec<u8> {
    [contents, blake3::hash(contents).as_bytes()].concat()
}

#[test]
fn what_was_left_is_taken_up_whole_or_not_at_all() {
    let demo = Demo::new();
    let plan = short(&demo);
    let left = interrupted(&demo, &plan);
    let journal = left.join("journal.cbor");
    let whole = fs::read(&journal).unwrap();
    check_journal(&whole).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let garbage = [sealed(b""), sealed(&b"\x9f".repeat(100_000)), sealed(&[0xbb; 9]), sealed(b"\x1a\xff\xff\xff\xff")];
    let journals = [&whole[..whole.len() - 1], &whole[..10], &[], &flipped, b"not a journal"];
    for contents in journals.into_iter().chain(garbage.iter().map(Vec::as_slice)) {
        let message = refused(&demo, &plan, &journal, contents);
        assert!(message.contains("this is no journal of a run"), "{message}");
    }

    let states = left.join("inputs-1");
    let whole = fs::read(&states).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let header = |numbers: &[u64]| sealed(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    let lies = [
        header(&[4, 0, 1, 7]),
        header(&[4, 64, u64::MAX]),
        header(&[4, u64::MAX, 1, u64::MAX]),
        header(&[2, 1 << 40, 1, 1 << 20]),
        header(&[3, 64, 0]),
        header(&[4, 64, 0]),
    ];
    for contents in
        [&whole[..whole.len() - 1], &whole[..20], &[], &flipped].into_iter().chain(lies.iter().map(Vec::as_slice))
    {
        refused(&demo, &plan, &states, contents);
    }

    let weights = left.join("model/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    assert!(refused(&demo, &plan, &weights, &whole[..whole.len() - 1]).contains("bytes instead of"));
    prune(&plan, &demo.path("model"), &demo.path("out"), &mut Silent).unwrap();
    assert!(unfinished(&demo.path("out")).is_none());
}
