//! Any text as the description of a task, and any text as a row of its data, parted by a NUL: no panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lopper::evaluation::{Row, parse_task};

fuzz_target!(|text: &str| {
    let (description, row) = text.split_once('\0').unwrap_or((text, "{}"));
    let Ok(task) = parse_task(description, Path::new("task.toml")) else { return };
    if let Ok(row) = serde_json::from_str(row)
        && let Ok(question) = task.ask(&Row(row))
    {
        assert!(question.gold < question.prompts.len());
        question.example();
    }
});
