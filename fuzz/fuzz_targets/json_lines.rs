//! Any bytes as calibration text, as JSON lines, and as rows of each built-in task: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::evaluation::{Row, TASKS};
use lopper::text::{read_text, read_wikitext};

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["text.jsonl", "text.txt"] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let _ = (read_text(&path), read_wikitext(&path));
    }
    if let Ok(row) = serde_json::from_slice(bytes).map(Row) {
        TASKS.iter().for_each(|task| drop((task.ask)(&row)));
    }
});
