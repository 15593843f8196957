//! The program from outside: its output and its exit status.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::process::{Command, Output};

pub fn lopper(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    command.args(arguments).env("COLUMNS", "100").env("HF_HUB_OFFLINE", "1").env_remove("NO_COLOR");
    command.env("HF_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("the program starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

pub fn succeeds(arguments: &[&str]) -> String {
    let output = lopper(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// Runs what must fail with this exit status; returns stderr. Nothing may be on stdout.
pub fn fails(status: i32, arguments: &[&str]) -> String {
    let output = lopper(arguments);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(status), String::new()),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stderr(&output)
}
