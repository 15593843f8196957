//! What an interrupted run has left, damaged or exchanged: the next run refuses it, says which file it is, and goes on once it
//! is as it was.

use crate::demo;

use std::fs;
use std::path::Path;

use demo::Demo;
use lopper::Error;
use lopper::plan::Plan;
use lopper::progress::Silent;
use lopper::prune::{check_journal, prune, unfinished};

/// The error of the same run when a file it has left holds something else.
fn refused(demo: &Demo, plan: &Plan, file: &Path, contents: &[u8]) -> String {
    let whole = fs::read(file).unwrap();
    fs::write(file, contents).unwrap();
    let error = prune(plan, &demo.open("model").unwrap(), &demo.path("out"), &mut Silent).unwrap_err();
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
    let plan = demo.short();
    demo.stop_after(1, &plan, "out");
    let left = unfinished(&demo.path("out")).unwrap();
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
    prune(&plan, &demo.open("model").unwrap(), &demo.path("out"), &mut Silent).unwrap();
    assert!(unfinished(&demo.path("out")).is_none());
}
