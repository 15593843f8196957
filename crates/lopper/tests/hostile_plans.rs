//! Plans, studies and descriptions of tasks that make no sense: each gives an error that says which file, or which key.

use crate::files;

use std::fs;
use std::path::Path;

use files::directory;
use lopper::evaluation::Task;
use lopper::model::{DecoderSpec, describe};
use lopper::plan::Plan;
use lopper::prune::in_pool;
use lopper::study::{Axis, Study};
use lopper::{Error, Result};
use serde_json::json;

fn llama() -> DecoderSpec {
    let config = json!({"model_type": "llama", "hidden_size": 32, "intermediate_size": 80, "num_attention_heads": 4,
        "num_hidden_layers": 3, "vocab_size": 96, "max_position_embeddings": 64});
    describe(Path::new("config.json"), &config).unwrap()
}

/// What `read` says of a file with these contents.
fn refused<T>(contents: &[u8], read: fn(&Path) -> Result<T>) -> String {
    let dir = directory();
    let path = dir.path().join("file.toml");
    fs::write(&path, contents).unwrap();
    let error = read(&path).err().unwrap_or_else(|| panic!("accepted {:.80}", String::from_utf8_lossy(contents)));
    let message = error.to_string();
    assert!(message.contains("file.toml") && !error.is_machine(), "{message}");
    message
}

fn plan(text: &str) -> String {
    refused(text.as_bytes(), Plan::read)
}

fn study(text: &str) -> String {
    refused(text.as_bytes(), Study::read)
}

fn open_task(path: &Path) -> Result<Task> {
    Task::open(&path.display().to_string())
}

fn task(text: &str) -> String {
    refused(text.as_bytes(), open_task)
}

/// `start`, then something nested so many levels deep, in every way that TOML has.
fn nested(start: &str) -> Vec<String> {
    let (many, most) = (100_000, 79);
    // tables inside a value are as deep as a parser allows, and the keys of each are too
    let tables = (0..most).fold("1".to_owned(), |inner, _| format!("{{ {}k = {inner} }}", "k.".repeat(most - 1)));
    vec![
        format!("{start} = {}", "[".repeat(many)),
        format!("{start} = {}1{}", "[".repeat(many), "]".repeat(many)),
        format!("{start} = {}", "{a = ".repeat(many)),
        format!("{start}{} = 1", ".a".repeat(many)),
        format!("[{start}{}]", ".a".repeat(many)),
        format!("[[{start}{}]]", ".a".repeat(many)),
        format!("{start} = {tables}"),
        format!("[{start}{}]\n{}k = {tables}", ".t".repeat(most - 1), "k.".repeat(most - 1)),
    ]
}

#[test]
fn files_that_hold_no_toml_are_refused_by_all() {
    let cases: [(&[u8], &str); 4] =
        [(b"name = \"\xff\"", "UTF-8"), (b"\xff\xfea\0", "UTF-8"), (b"\0", "TOML"), (b"{\"name\": 1}", "TOML")];
    for (contents, expected) in cases {
        for message in [refused(contents, Plan::read), refused(contents, Study::read), refused(contents, open_task)] {
            assert!(message.contains(expected), "{message}");
        }
    }
    for (start, read) in [("calibration", plan as fn(&str) -> String), ("base", study), ("labels", task)] {
        let messages: Vec<String> = nested(start).iter().map(|text| read(text)).collect();
        assert!(messages.iter().rev().take(2).all(|message| message.contains("nested more than")), "{messages:?}");
    }
}

#[test]
fn a_plan_with_a_value_of_another_kind_is_refused() {
    let cases = [
        ("modell = 'x'", "unknown field `modell`"),
        ("model = 3", "invalid type"),
        ("calibration = 3", "invalid type"),
        ("[calibration]\nsamples = -1", "samples"),
        ("[calibration]\nsamples = 1.5", "samples"),
        ("[calibration]\nsamples = 'many'", "samples"),
        ("[calibration]\nsamples = 99999999999999999999", "expected usize"),
        ("[calibration]\nfiles = 'one.txt'", "files"),
        ("[calibration]\nseed = nan", "seed"),
        ("[pruning]\nsparsity = true", "sparsity"),
        ("[pruning]\nsparsity = [0.5]", "sparsity"),
        ("[pruning]\nspeed = 1", "unknown field `speed`"),
        ("[[pruning.rules]]\nsparsity = 0.5", "missing field `matrices`"),
        ("[[pruning.rules]]\nmatrices = 'a'\nkeep = 1", "unknown field `keep`"),
        ("[reconstruction]\ngranularity = 'blocks:0'", "no granularity"),
        ("[reconstruction]\ngranularity = 'blocks:18446744073709551616'", "no granularity"),
        ("[reconstruction]\nparameters = 'everything'", "everything"),
        ("[compute]\ndtype = 'f8'", "f8"),
        ("model = 'a'\nmodel = 'b'", "duplicate key"),
    ];
    for (text, expected) in cases {
        let message = plan(text);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_plan_with_a_number_that_makes_no_sense_is_refused() {
    let dir = directory();
    let path = dir.path().join("plan.toml");
    let cases = [
        ("pruning", "sparsity = nan", "sparsity NaN is outside [0, 1)"),
        ("pruning", "sparsity = -inf", "outside [0, 1)"),
        ("pruning", "sparsity = 1", "outside [0, 1)"),
        ("pruning", "pattern = '2:18446744073709551616'", "not of the form N:M"),
        ("pruning", "pattern = '-1:4'", "not of the form N:M"),
        ("pruning", "pattern = '1:9223372036854775807'", "not N:M"),
        ("pruning", "damping = nan", "pruning.damping"),
        ("pruning", "damping = -0.5", "pruning.damping"),
        ("pruning", "iterations = 0", "pruning.iterations"),
        ("pruning", "column_block = 0", "pruning.column_block"),
        ("pruning", "ratios = 'owl'\nowl_lambda = nan", "pruning.owl_lambda"),
        ("pruning", "ratios = 'owl'\nowl_threshold = inf", "pruning.owl_threshold"),
        ("pruning", "criterion = 'best'", "best"),
        ("pruning", "rules = [{matrices = '(a{1000}){1000}{1000}', dense = true}]", "not a regular expression"),
        ("calibration", "samples = 0", "calibration.samples is 0"),
        ("calibration", "samples = 9223372036854775807", "calibration.samples is beyond"),
        ("calibration", "held_out = 9223372036854775807", "calibration.held_out is beyond"),
        ("calibration", "seqlen = 1", "calibration.seqlen is below 2"),
        ("calibration", "seqlen = 9223372036854775807", "calibration.seqlen exceeds"),
        ("evaluation", "seqlen = 9223372036854775807", "evaluation.seqlen exceeds"),
        ("evaluation", "windows = 0", "evaluation.windows is 0"),
        ("evaluation", "limit = 0", "evaluation.limit is 0"),
        ("reconstruction", "batch = 9223372036854775807", "reconstruction.batch is beyond"),
        ("reconstruction", "accumulate = 9223372036854775807", "reconstruction.accumulate is beyond"),
        ("reconstruction", "epochs = 9223372036854775807", "reconstruction.epochs is beyond"),
        ("reconstruction", "parameters = 'lora'\nrank = 9223372036854775807", "reconstruction.rank exceeds"),
        ("reconstruction", "parameters = 'lora'\nrank = 0", "reconstruction.rank is 0"),
        ("reconstruction", "learning_rate = nan", "reconstruction.learning_rate"),
        ("reconstruction", "warm_up = inf", "reconstruction.warm_up"),
        ("reconstruction", "weight_decay = -inf", "reconstruction.weight_decay"),
        ("reconstruction", "alpha = nan", "reconstruction.alpha"),
        ("reconstruction", "clip = nan", "reconstruction.clip"),
        ("retraining", "temperature = nan", "retraining.temperature"),
        ("retraining", "batch = 9223372036854775807", "retraining.batch is beyond"),
        ("retraining", "epochs = 9223372036854775807", "retraining.epochs is beyond"),
        ("compute", "threads = 0", "compute.threads is 0"),
    ];
    for (table, entry, expected) in cases {
        fs::write(&path, format!("[{table}]\n{entry}\n")).unwrap();
        let error = Plan::read(&path).unwrap().validate(&llama()).expect_err(expected);
        assert!(matches!(error, Error::Plan { .. }) && error.to_string().contains(expected), "{entry}: {error}");
    }
}

#[test]
fn a_pool_of_absurd_size_is_not_started() {
    for threads in [5000, 1 << 40, usize::MAX] {
        let error = in_pool(Some(threads), || Ok(())).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot start {threads} threads")), "{error}");
    }
}

#[test]
fn a_study_that_makes_no_sense_is_refused() {
    let good = "name = 'n'\nquestion = 'q'\nx = 'a.b'\n";
    let axis = |values: &str| format!("{good}[[axes]]\nkey = 'a.b'\nvalues = [{values}]\n");
    let long = "a.".repeat(100_000);
    let cases = [
        (good.to_owned(), "axes"),
        (format!("{good}axes = 3"), "axes"),
        (format!("{good}runner = 'guess'\naxes = []"), "guess"),
        (axis("1").replace("'n'", "'../n'"), "not a word"),
        (axis("1").replace("'n'", "3"), "name"),
        (format!("speed = 1\n{}", axis("1")), "unknown field `speed`"),
        (axis("1").replace("'a.b'", &format!("'{long}b'")), "too many parts"),
        (axis("1").replace("'a.b'", "'a..b'"), "no name for an axis"),
        (format!("{good}[[axes]]\nname = 'a.b'\nvalues = [{{ '{long}b' = 1 }}]"), "too many parts"),
        (format!("{good}[[axes]]\nname = 'a.b'\nkey = 'a.b'\nvalues = [1]"), "either a key or a name"),
        (axis("nan, nan"), "twice"),
        (axis(&(0..200_000).map(|value| format!("{value},")).collect::<String>()), "200000 runs"),
        (
            (0..64).fold(axis("1"), |text, axis| format!("{text}[[axes]]\nkey = 'k{axis}'\nvalues = [1, 2]\n")),
            "too many runs",
        ),
    ];
    for (text, expected) in cases {
        let message = study(&text);
        assert!(message.contains(expected), "{message:.400}");
    }
    for text in ["", "=", "a", "=1", "a..b=1", &format!("{long}b=1"), &format!("a={}", "[".repeat(100_000))] {
        let read = Axis::parse(text);
        assert!(read.is_err() || text.starts_with("a=["), "{text:.80}");
    }
}

#[test]
fn a_description_that_is_no_task_is_refused() {
    let good = "name = 'n'\nversion = '1'\nquestions = 'q.jsonl'\ncontext = '{q}'\nchoices = ['a', 'b']\ngold = 'g'\n";
    let cases = [
        (String::new(), "missing field"),
        (good.replace("version = '1'\n", ""), "missing field `version`"),
        (good.replace("'1'", "1"), "invalid type"),
        (format!("{good}speed = 1"), "unknown field `speed`"),
        (good.replace("['a', 'b']", "3"), "choices"),
        (good.replace("['a', 'b']", "[1, 2]"), "choices"),
        (format!("{good}metrics = []"), "metrics are acc, acc_norm or both"),
        (format!("{good}metrics = ['perplexity']"), "metrics are acc, acc_norm or both"),
        (format!("{good}metrics = ['speed']"), "speed"),
        (format!("{good}labels = {{}}"), "labels"),
    ];
    for (text, expected) in cases {
        let message = task(&text);
        assert!(message.contains(expected), "{message}");
    }
    assert!(Task::open("../tasks/none").unwrap_err().to_string().contains("there is no task"));
    assert!(Task::open("none.toml").unwrap_err().to_string().contains("none.toml"));
}
