//! Runs that are interrupted, politely or not, and go on.

mod program;
mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{fails, stderr, succeeds};
use serde_json::Value;
use tiny::Tiny;

/// Starts `prune`, and interrupts it as soon as its unfinished output is as `when` says.
#[cfg(unix)]
fn interrupted(tiny: &Tiny, arguments: &[String], when: impl Fn(&Path) -> bool) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    let mut run = command.args(arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
    while !when(Path::new(&tiny.path(".out.unfinished"))) {
        assert!(run.try_wait().expect("status").is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill").success());
    let output = run.wait_with_output().expect("status");
    (output.status.code(), stderr(&output))
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let arguments = tiny.prune(&model, &out, &["--epochs", "100000"]);
    let (status, message) = interrupted(&tiny, &arguments, |unfinished| unfinished.join("journal.cbor").exists());
    assert_eq!(status, Some(130));
    assert!(message.contains("interrupted: the same command goes on where it was"), "{message}");
    assert_eq!(tiny.entries(), [".out.unfinished", "model", "text.txt"]);
    // no block is finished, so another run may take its place
    let other = tiny.prune(&model, &out, &["--reconstruct", "none"]);
    succeeds(&other.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(tiny.entries(), ["model", "out", "text.txt"]);
}

#[cfg(unix)]
#[test]
fn finished_blocks_of_another_run_are_not_taken_for_ones_own() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let own = tiny.prune(&model, &out, &["--epochs", "1000"]);
    // the states of the first block are removed when the journal has the second
    let two = |unfinished: &Path| unfinished.join("inputs-2").exists() && !unfinished.join("inputs-1").exists();
    interrupted(&tiny, &own, two);
    let other = tiny.prune(&model, &out, &["--pattern", "2:4"]);
    let message = fails(1, &other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("finished blocks of another run") && message.contains(".out.unfinished"), "{message}");
    // what is kept has to be as it was left
    let states = tiny.path(".out.unfinished/inputs-2");
    let mut bytes = std::fs::read(&states).expect("kept");
    bytes[100] ^= 1;
    std::fs::write(&states, bytes).expect("written");
    let message = fails(1, &own.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("inputs-2") && message.contains("to begin anew"), "{message}");
    std::fs::remove_file(&states).expect("removed");
    let message = fails(1, &own.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("inputs-2") && message.contains("to begin anew"), "{message}");
}

/// No file may become larger than twice the model, which hidden states would.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_ends_the_run_and_loses_nothing() {
    let tiny = Tiny::new();
    let (model, whole, out, text) = (tiny.path("model"), tiny.path("whole"), tiny.path("out"), tiny.path("text.txt"));
    std::fs::write(&text, std::fs::read_to_string(&text).expect("text").repeat(40)).expect("text");
    let arguments = |out: &str| {
        let few = tiny.prune(&model, out, &[]);
        few.into_iter().map(|argument| if argument == "6" { "1000".into() } else { argument }).collect::<Vec<_>>()
    };
    succeeds(&arguments(&whole).iter().map(String::as_str).collect::<Vec<_>>());
    let blocks = 2 * std::fs::metadata(tiny.path("model/model.safetensors")).expect("model").len() / 512;
    // a write beyond the limit is an error where the signal is ignored
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, env!("CARGO_BIN_EXE_lopper")]).args(arguments(&out));
    let output = limited.output().expect("a shell");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("cannot write") && message.contains(".out.unfinished"), "{message}");
    assert_eq!(tiny.entries(), [".out.unfinished", "model", "text.txt", "whole"]);
    succeeds(&arguments(&out).iter().map(String::as_str).collect::<Vec<_>>());
    assert!(contents(&whole) == contents(&out));
    assert_eq!(tiny.entries(), ["model", "out", "text.txt", "whole"]);
}

/// Every file of a model but the report, whose timings differ, and the card, which calls it as its directory.
fn contents(directory: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path());
    let read = |path: PathBuf| (path.display().to_string().replace(directory, ""), std::fs::read(path).expect("file"));
    let mut files: Vec<_> = entries
        .map(read)
        .filter(|(name, _)| !["report.json", "README.md"].iter().any(|other| name.contains(other)))
        .collect();
    files.sort();
    files
}

/// Starts a run, kills it, starts it again, until it ends; how often it was killed, and how often it went on.
fn killed(tiny: &Tiny, arguments: &[String], longest: Duration) -> (usize, usize) {
    let (mut kills, mut went_on) = (0, 0);
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
        let mut run = command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start");
        // multiples of the golden ratio are spread evenly
        let share = (kills + 1) as f64 * 0.618_034 % 1.0;
        std::thread::sleep(longest.mul_f64(0.3 + 0.7 * share));
        let ended = run.try_wait().expect("status").is_some() || kills == 60;
        if !ended {
            run.kill().expect("killed");
            kills += 1;
        }
        let output = run.wait_with_output().expect("status");
        went_on += usize::from(stderr(&output).contains("going on after"));
        if !ended && Path::new(&tiny.path("out")).exists() {
            // after the last step that counts: only names are left to be cleared away
            let left = PathBuf::from(tiny.path(".out.unfinished"));
            assert!(["model", "second"].iter().all(|name| !left.join(name).exists()));
            let _ = std::fs::remove_dir_all(left);
            return (kills, went_on);
        }
        if ended {
            assert!(output.status.success(), "{}", stderr(&output));
            return (kills, went_on);
        }
    }
}

/// The plan trains long enough to be killed at every stage; each run goes on where the one before was.
#[test]
fn a_run_killed_again_and_again_ends_with_the_same_bytes() {
    let tiny = Tiny::new();
    let (model, whole, out) = (tiny.path("model"), tiny.path("whole"), tiny.path("out"));
    let more = ["--ladder", "--epochs", "40", "--retrain", "kl", "--retrain-epochs", "40"];
    let arguments = tiny.prune(&model, &whole, &more);
    let started = Instant::now();
    succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let whole_run = started.elapsed();
    let arguments = tiny.prune(&model, &out, &more);
    // where the machine has become faster meanwhile, sooner
    let (kills, went_on) =
        [0.35, 0.2, 0.1, 0.05].map(|share| whole_run.mul_f64(share)).into_iter().fold((0, 0), |known, longest| {
            if known.0 > 1 && known.1 > 0 {
                return known;
            }
            let _ = std::fs::remove_dir_all(&out);
            killed(&tiny, &arguments, longest)
        });
    assert!(kills > 1 && went_on > 0, "{kills} kills, {went_on} times it went on");
    assert!(contents(&whole) == contents(&out), "other bytes after {kills} kills");
    let report = |out: &str| -> Value {
        serde_json::from_slice(&std::fs::read(format!("{out}/report.json")).expect("report")).expect("JSON")
    };
    for part in ["evaluation", "model", "matrices", "warnings", "plan"] {
        assert_eq!(report(&whole)[part], report(&out)[part], "{part}");
    }
    assert_eq!(tiny.entries(), ["model", "out", "text.txt", "whole"]);
}
