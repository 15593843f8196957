//! Any text as a study: no panic, and what is accepted is read again as it is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::plan::Plan;
use lopper::study::Study;

fuzz_target!(|text: &str| {
    let Ok(mut study) = Study::parse(text, "study.toml") else { return };
    Study::parse(&study.to_toml().expect("text"), "again").expect("a study");
    let _ = study.settle(&Plan::default(), |_| ());
});
