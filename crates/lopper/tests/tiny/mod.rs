//! The tiny checkpoint of a family with a tokenizer and a text, and quick plans for it.

use std::fmt::Write;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use lopper::checkpoint::Checkpoint;
use lopper::error::Result;
use lopper::explain::shrunk;
use lopper::model::{Decoder, DecoderSpec};
use lopper::plan::{Allocation, ComputeDtype, Measured, Plan};
use lopper::progress::{Event, Silent};
use lopper::prune::{prune, unfinished};
use lopper::report::Report;
use lopper::schedule::Run;
use serde_json::{Map, json};
use tempfile::TempDir;

use crate::golden;

/// Words of a text, unless said otherwise.
pub const WORDS: usize = 3_000;

/// `model/`, `text.txt`, and whatever runs write beside them.
pub struct Tiny {
    folder: String,
    directory: TempDir,
    pub spec: DecoderSpec,
}

impl Tiny {
    /// The fixture of this folder.
    pub fn new(folder: &str) -> Self {
        Self::with_words(folder, WORDS)
    }

    /// The same with a text of so many words.
    pub fn with_words(folder: &str, words: usize) -> Self {
        let (files, decoder) = golden::tiny(folder);
        let spec = decoder.spec().clone();
        fs::remove_file(files.path().join("golden.safetensors")).expect("not part of the model");
        fs::write(files.path().join("tokenizer.json"), tokenizer(spec.vocabulary)).expect("written");
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("text.txt"), text(spec.vocabulary, words)).expect("written");
        fs::rename(files.path(), directory.path().join("model")).expect("moved");
        Self { folder: folder.into(), directory, spec }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A run of a moment: half of the weights, no training.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { model: self.folder.clone(), ..Plan::default() };
        // the same on every processor
        plan.compute.dtype = ComputeDtype::F32;
        plan.calibration.files = vec![self.path("text.txt")];
        (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (6, 2, Some(24));
        plan.evaluation.texts = vec![self.path("text.txt")];
        (plan.evaluation.seqlen, plan.evaluation.windows) = (Some(24), Some(2));
        (plan.reconstruction.epochs, plan.reconstruction.batch) = (1, 2);
        (plan.retraining.epochs, plan.retraining.batch) = (1, 2);
        plan.reconstruction.granularity = lopper::plan::Granularity::None;
        plan
    }

    /// Runs a plan whose patterns depend on nothing that is measured, and checks what it wrote.
    pub fn prune(&self, plan: &Plan, out: &str) -> Report {
        let report = self.try_prune(plan, out).unwrap_or_else(|error| panic!("{} {out}: {error}", self.folder));
        let allocation = plan.targets(&self.spec).and_then(|targets| targets.allocate(&Measured::default()));
        self.check(&report, &allocation.expect("known beforehand"), out);
        report
    }

    pub fn try_prune(&self, plan: &Plan, out: &str) -> Result<Report> {
        prune(plan, &self.open("model"), &self.path(out), &mut Silent)
    }

    /// Runs a plan, stopped after the first block.
    pub fn prune_one_block(&self, plan: &Plan, out: &str) {
        let (model, out, mut prunes) = (self.open("model"), self.path(out), false);
        let mut stop = |event: Event| match event {
            Event::Stage { name } => prunes = name.starts_with("pruning"),
            Event::Progress(_) => assert!(!prunes, "interrupted after the first block"),
            _ => {}
        };
        assert!(catch_unwind(AssertUnwindSafe(|| prune(plan, &model, &out, &mut stop))).is_err());
    }

    /// Runs a plan again and again, stopped at the dense scores, after a block, at the next retraining and before a smaller model is written,
    /// until it ends. Returns how often it was stopped.
    pub fn prune_interrupted(&self, plan: &Plan, out: &str) -> usize {
        let (model, out) = (self.open("model"), self.path(out));
        let mut stops = 0;
        loop {
            let mut stop = |event: Event| {
                let is_here = match event {
                    Event::Stage { name } => {
                        let stages = ["scoring the dense", "running finished", "retraining", "writing the smaller"];
                        stages.get(stops).is_some_and(|stage| name.starts_with(stage))
                    }
                    Event::Progress(share) => stops == 1 && share > 0.4 && share < 0.9,
                    _ => false,
                };
                assert!(!is_here, "interrupted");
            };
            match catch_unwind(AssertUnwindSafe(|| prune(plan, &model, &out, &mut stop))) {
                Ok(finished) => break drop(finished.unwrap_or_else(|error| panic!("{}: {error}", self.folder))),
                Err(_) => stops += 1,
            }
            assert!(!out.exists(), "{}", self.folder);
        }
        assert_eq!(unfinished(&out), None, "{}", self.folder);
        stops
    }

    /// Zeros, and scores before and after.
    fn check(&self, report: &Report, allocation: &Allocation, out: &str) {
        let what = format!("{} {out}", self.folder);
        let written = self.open(out);
        assert_eq!(report.matrices.len(), self.spec.linear_ids().count(), "{what}");
        for (id, facts) in self.spec.linear_ids().zip(&report.matrices) {
            let weight = written.load_weight(id).expect("weight");
            let pattern = allocation.get(id).expect("nothing is left dense");
            assert_eq!(pattern.violation(weight.host(), weight.width()), None, "{what} {}", facts.name);
            assert_eq!(facts.name, self.spec.weight_name(id), "{what}");
            assert_eq!(facts.pattern, Some(*pattern), "{what}");
        }
        let names: Vec<&str> = report.evaluation.iter().map(|rung| rung.name.as_str()).collect();
        assert_eq!((names[0], names.len()), ("dense", 2), "{what}");
        for rung in &report.evaluation {
            assert!(rung.scores.texts[0].score.perplexity.is_finite(), "{what} {}", rung.name);
        }
        assert_eq!(report.model.family, self.spec.family);
    }

    /// That what is known of a smaller model before a run is what its report, its files and their description say after it.
    pub fn check_foreseen(&self, plan: &Plan, report: &Report, out: &str) {
        let (whole, small) = (self.open("model"), self.open(out));
        let mut omitted = plan.omitted(whole.spec()).expect("a valid plan");
        omitted.experts = report.shrunk.as_ref().expect("something goes").experts_kept.clone();
        let shorter = self.open("model").without(&omitted).expect("a config");
        let run = Run::new(plan, shorter.spec()).expect("a valid plan");
        let foreseen = shrunk(&run, [&whole, &shorter]).expect("a config").expect("something goes");
        assert_eq!(Some(&foreseen), report.shrunk.as_ref(), "{}", self.folder);
        assert_eq!(foreseen.serving[1], small.spec().serving(), "{}", self.folder);
        assert_eq!(foreseen.bytes[1], small.checkpoint().total_bytes(), "{}", self.folder);
    }

    pub fn open(&self, name: &str) -> Decoder {
        Decoder::open(Checkpoint::open(&self.path(name)).expect("opens")).expect("a decoder")
    }

    /// Name and bytes of every file of weights.
    pub fn weights(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.path(name)).expect("directory").flatten();
        let weights = files.filter(|entry| entry.file_name().to_string_lossy().ends_with(".safetensors"));
        let mut weights: Vec<_> = weights
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("file")))
            .collect();
        weights.sort();
        assert!(!weights.is_empty());
        weights
    }
}

/// A word per token.
fn tokenizer(vocabulary: usize) -> String {
    let words: Map<_, _> = (0..vocabulary).map(|id| (format!("w{id}"), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": words, "unk_token": "w0" },
    });
    tokenizer.to_string()
}

/// Words in an order that is not quite random.
fn text(vocabulary: usize, words: usize) -> String {
    let mut text = String::new();
    let mut state = 1_usize;
    for _ in 0..words {
        state = (state * 1103 + 12345) % 65536;
        write!(text, "w{} ", (state >> 4) % vocabulary).expect("a string grows");
    }
    text
}
