//! Log-likelihoods and answers against lm-evaluation-harness, and passes that share rows against passes that do not.
//!
//! `LOPPER_TEST_SMOLLM2` (a checkpoint directory) and `LOPPER_TEST_TASKS` (TASK.SPLIT.jsonl as published) say where model and data
//! are. A test whose files are not there says so and passes, but never in CI.

use crate::golden;

use std::path::{Path, PathBuf};

use golden::{fixtures, path, tiny};
use lopper::checkpoint::Checkpoint;
use lopper::evaluation::{
    Asking, Encoder, Passage, QuestionSet, Record, Source, TASKS, Task, TaskScore, log_likelihoods, next_tokens,
    passages, score,
};
use lopper::model::Decoder;
use lopper::progress::Silent;
use lopper::text::Tokenizer;
use lopper_kernels::Precision;
use serde_json::Value;

/// Other goldens, of some tasks and more documents: `goldens/tasks.py --documents 100 --output FILE`.
fn more_goldens() -> Option<PathBuf> {
    std::env::var_os("LOPPER_TEST_TASK_GOLDENS").map(PathBuf::from)
}

fn goldens() -> Value {
    let file = more_goldens().unwrap_or_else(|| fixtures().join("tasks.json"));
    serde_json::from_str(&std::fs::read_to_string(file).expect("fixture")).expect("JSON")
}

fn open(directory: &Path) -> Decoder {
    Decoder::open(Checkpoint::open(directory).expect("opens")).expect("a decoder")
}

/// Within 1e-3 of what the harness computes in f32.
fn agrees(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() <= 1e-3 * want.abs().max(0.1), "{what}: {got} against {want}");
}

#[test]
fn sequences_that_share_rows_score_as_they_do_alone() {
    let decoder = open(&fixtures().join("llama"));
    let passage = |tokens: &[u32], first| Passage { tokens: tokens.to_vec(), first };
    let long: Vec<u32> = (0..40).map(|i| i * 7 % 50).collect();
    let with = |end: &[u32]| [&long[..], end].concat();
    let together = [
        passage(&with(&[3]), 40),
        passage(&with(&[5]), 40),
        passage(&[9, 8, 7], 1),
        passage(&with(&[5, 6, 7]), 39),
        passage(&with(&[5, 4]), 40),
        passage(&long, 1),
        passage(&[9, 8, 7], 2),
    ];
    let said = next_tokens(&decoder, &together, Precision::F32, &mut |_| {}).expect("a pass");
    for (passage, said) in together.iter().zip(&said) {
        assert_eq!(said.len(), passage.tokens.len() - passage.first);
        let alone = next_tokens(&decoder, std::slice::from_ref(passage), Precision::F32, &mut |_| {}).expect("a pass");
        for (a, b) in said.iter().zip(&alone[0]) {
            assert!((a.log_likelihood - b.log_likelihood).abs() < 1e-5, "{a:?} {b:?}");
            assert_eq!(a.most_likely, b.most_likely);
        }
    }
}

#[test]
fn a_long_sequence_does_not_turn_a_short_one_otherwise() {
    let (_directory, decoder) = tiny("phi3/long");
    let of = |length: u32| Passage { tokens: (0..length).map(|i| i * 7 % 50).collect(), first: 1 };
    // those of more than 20 tokens turn by the long factors
    let together = [of(30), of(12), of(22), of(21), of(5)];
    let said = next_tokens(&decoder, &together, Precision::F32, &mut |_| {}).expect("a pass");
    for (passage, said) in together.iter().zip(&said) {
        let alone = next_tokens(&decoder, std::slice::from_ref(passage), Precision::F32, &mut |_| {}).expect("a pass");
        for (a, b) in said.iter().zip(&alone[0]) {
            assert!((a.log_likelihood - b.log_likelihood).abs() < 1e-5, "{}: {a:?} {b:?}", passage.tokens.len());
        }
    }
}

#[test]
fn what_nothing_predicts_is_not_asked() {
    let decoder = open(&fixtures().join("llama"));
    for first in [0, 3] {
        let passage = Passage { tokens: vec![9, 8, 7], first };
        let error =
            next_tokens(&decoder, &[passage], Precision::F32, &mut |_| {}).expect_err("nothing stands before it");
        assert!(error.to_string().contains(&format!("tokens from {first} on of 3")), "{error}");
    }
}

#[test]
fn contexts_and_continuations_of_every_kind() {
    let Some(directory) = path("LOPPER_TEST_SMOLLM2") else { return };
    let (decoder, tokenizer) = (open(&directory), Tokenizer::open(&directory).expect("tokenizer"));
    let goldens = goldens();
    let limit = goldens["limit"].as_u64().expect("number") as usize;
    let mut spec = decoder.spec().clone();
    spec.max_positions = limit;
    let encoder = Encoder::open(&directory, &tokenizer, &spec).expect("an encoder");
    let requests = goldens["requests"].as_array().expect("list");
    let text = |request: &Value, name| request[name].as_str().expect("text").to_owned();
    let encode = |request| encoder.encode(&text(request, "context"), &text(request, "continuation")).expect("tokens");
    let passages: Vec<Passage> = requests.iter().map(encode).collect();
    assert!(passages.iter().any(|passage| passage.tokens.len() == limit + 1), "one is cut on the left");
    let answers = log_likelihoods(&decoder, &passages, Precision::F32, &mut |_| {}).expect("a pass");
    for (request, answer) in requests.iter().zip(answers) {
        agrees(answer.log_likelihood, request["log_likelihood"].as_f64().expect("number"), &request.to_string());
        assert_eq!(Some(answer.greedy), request["greedy"].as_bool(), "{request}");
    }
}

#[test]
fn continuations_that_leave_nothing_or_do_not_fit_are_refused() {
    let Some(directory) = path("LOPPER_TEST_SMOLLM2") else { return };
    let tokenizer = Tokenizer::open(&directory).expect("tokenizer");
    let encoder = Encoder::new(&tokenizer, 1, 4);
    assert!(encoder.encode("A context", "").is_err());
    assert!(encoder.encode("A context", " one two three four five six").is_err());
    assert_eq!(encoder.encode("", " one").expect("tokens").tokens[0], 1);
}

/// The set of a golden: `task`, `task:subject` or either with `, n examples`.
fn set(name: &str, data: &Path, documents: usize) -> QuestionSet {
    let (task, examples) = name.split_once(", ").unwrap_or((name, "0 examples"));
    let examples: usize = examples.split(' ').next().and_then(|n| n.parse().ok()).expect("a number of examples");
    let (task, subject) = task.split_once(':').unwrap_or((task, ""));
    let folder = tempfile::tempdir().expect("folder");
    let copy = |from: PathBuf, to: &str| {
        let text = std::fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let of_subject = |line: &&str| subject.is_empty() || line.contains(&format!("\"subject\": \"{subject}\""));
        let lines: Vec<&str> = text.lines().filter(of_subject).collect();
        std::fs::write(folder.path().join(to), lines.join("\n")).expect("written");
    };
    let set = TASKS.iter().find(|known| known.name == task).expect("a task").data;
    let file = format!("{}.{}.jsonl", set.name, set.split);
    let own = fixtures().join("tasks");
    copy(if own.join(&file).exists() { own.join(&file) } else { data.join(&file) }, &file);
    match (task, examples) {
        (_, 0) => {}
        ("mmlu", _) => copy(own.join("mmlu.dev.jsonl"), "mmlu.dev.jsonl"),
        ("arc_easy", _) => copy(data.join("arc_challenge.test.jsonl"), "arc_easy.train.jsonl"),
        ("winogrande", _) => copy(data.join(&file), "winogrande_xl.train.jsonl"),
        _ => {}
    }
    let asking =
        Asking { data: Source::Directory(folder.path().into()), limit: Some(documents), examples, ..Asking::default() };
    QuestionSet::read(Task::open(task).expect("a task"), &asking, &mut Silent)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether two choices are so close that rounding may swap them.
fn is_close(scores: impl Iterator<Item = f64>) -> bool {
    let mut scores: Vec<f64> = scores.collect();
    scores.sort_by(f64::total_cmp);
    scores.len() > 1 && scores[scores.len() - 1] - scores[scores.len() - 2] <= 1e-3
}

fn compare(name: &str, score: &TaskScore, set: &QuestionSet, golden: &Value) {
    let golden = golden.as_array().expect("documents");
    assert_eq!(score.records.len(), golden.len());
    for ((record, golden), question) in score.records.iter().zip(golden).zip(&set.questions) {
        let what = format!("{name}, document {}", record.document);
        assert_eq!(golden["document"].as_u64(), Some(record.document as u64));
        let want: Vec<f64> = serde_json::from_value(golden["log_likelihoods"].clone()).expect("numbers");
        assert_eq!(record.log_likelihoods.len(), want.len(), "{what}");
        record.log_likelihoods.iter().zip(&want).for_each(|(&got, &want)| agrees(got, want, &what));
        let right = |name: &str| golden[name].as_f64().map(|right| right > 0.5);
        let Record { acc, acc_norm, .. } = *record;
        if !is_close(want.iter().copied()) {
            assert_eq!(right("acc"), Some(acc), "{what}");
        }
        if !is_close(want.iter().zip(&question.lengths).map(|(sum, &length)| sum / length as f64)) {
            assert_eq!(right("acc_norm").unwrap_or(acc_norm), acc_norm, "{what}");
        }
    }
}

#[test]
fn answers_are_those_of_lm_evaluation_harness() {
    let (Some(directory), Some(data)) = (path("LOPPER_TEST_SMOLLM2"), path("LOPPER_TEST_TASKS")) else { return };
    let (decoder, tokenizer) = (open(&directory), Tokenizer::open(&directory).expect("tokenizer"));
    let encoder = Encoder::open(&directory, &tokenizer, decoder.spec()).expect("an encoder");
    let goldens = goldens();
    let tasks = goldens.as_object().expect("object").iter().filter(|(_, golden)| golden[0]["document"].is_u64());
    let (names, goldens): (Vec<&String>, Vec<&Value>) = tasks.unzip();
    for task in TASKS.iter().filter(|_| more_goldens().is_none()) {
        assert!(
            names.iter().any(|name| name.split([',', ':']).next() == Some(task.name)),
            "no golden of {}",
            task.name
        );
    }
    let question_sets = names.iter().zip(&goldens).map(|(name, golden)| {
        let set = set(name, &data, golden.as_array().expect("documents").len());
        let passages = passages(&set, &encoder).expect("tokens");
        (set, passages)
    });
    let question_sets: Vec<(QuestionSet, Vec<Passage>)> = question_sets.collect();
    let scores = score(&decoder, &question_sets, Precision::F32, &mut |_| {}).expect("a pass");
    for (((name, golden), (set, _)), score) in names.iter().zip(goldens).zip(&question_sets).zip(&scores) {
        compare(name, score, set, golden);
    }
}
