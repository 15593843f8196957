//! A checkpoint with random weights, a tokenizer for it, and a text, in a temporary directory.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, json};
use tempfile::TempDir;

/// Words that the tokenizer knows; the embedding of the fixture has as many rows.
const WORDS: usize = 96;

/// `model/` and `text.txt`; removed when dropped.
pub struct Tiny(TempDir);

impl Tiny {
    /// Copies the fixture and adds what it lacks.
    pub fn new() -> Self {
        let tiny = Self(tempfile::tempdir().expect("directory"));
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lopper/tests/fixtures/llama");
        fs::create_dir(tiny.path("model")).expect("directory");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixture.join(file), tiny.path(&format!("model/{file}"))).expect("fixture");
        }
        fs::write(tiny.path("model/tokenizer.json"), tokenizer().to_string()).expect("tokenizer");
        fs::write(tiny.path("text.txt"), text()).expect("text");
        tiny
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Names of all entries, sorted.
    pub fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("listed");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes a task of 40 questions, and gives the file that describes it.
    pub fn task(&self) -> String {
        let question = |i: usize| {
            let choices: Vec<String> = (1..4).map(|j| format!("w{} w{}", i % 7 + j, (5 * i + j) % WORDS)).collect();
            json!({ "context": format!("w{i} w{}", 3 * i % WORDS), "options": choices, "gold": i % 3 }).to_string()
        };
        let rows: Vec<String> = (1..41).map(question).collect();
        fs::write(self.path("words.jsonl"), rows.join("\n")).expect("written");
        let description = "name = \"words\"\nversion = \"3\"\nquestions = \"words.jsonl\"\ncontext = \"{context}\"\nchoices = \"options\"\ngold = \"gold\"\nexamples = \"words.jsonl\"\n";
        fs::write(self.path("words.toml"), description).expect("written");
        self.path("words.toml")
    }

    /// The arguments of a run of a second or less, and `more`.
    pub fn prune(&self, model: &str, out: &str, more: &[&str]) -> Vec<String> {
        let text = self.path("text.txt");
        let mut arguments: Vec<&str> = vec!["prune", model, "-o", out, "--calibration", &text, "--eval-text", &text];
        arguments.extend([
            "--samples",
            "6",
            "--held-out",
            "2",
            "--seqlen",
            "32",
            "--eval-seqlen",
            "32",
            "--eval-windows",
            "4",
        ]);
        arguments.iter().chain(more).map(|&argument| argument.to_owned()).collect()
    }
}

/// A word per token.
fn tokenizer() -> serde_json::Value {
    let vocabulary: Map<_, _> = (0..WORDS).map(|id| (format!("w{id}"), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "w0" },
    })
}

/// A thousand words in an order that is not quite random.
fn text() -> String {
    let mut text = String::new();
    let mut state = 1_usize;
    for _ in 0..1000 {
        state = (state * 1103 + 12345) % 65536;
        write!(text, "w{} ", (state >> 4) % WORDS).expect("a string grows");
    }
    text
}
