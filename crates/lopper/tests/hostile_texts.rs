//! Texts, tokenizers and data of tasks that are damaged, or lie: each gives an error that says where, and none a panic.

use crate::files;

use std::fs;
use std::path::{Path, PathBuf};

use files::directory;
use lopper::Error;
use lopper::evaluation::{Asking, QuestionSet, Task};
use lopper::progress::Silent;
use lopper::text::{Reader, SpecialTokens, Tokenizer, builtin_text, read_text, read_wikitext};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_line_that_holds_no_text_is_refused_by_its_number() {
    let dir = directory();
    let deep = |open: &str| open.repeat(1_000_000).into_bytes();
    let cases: [(Vec<u8>, &str); 11] = [
        (deep("["), "line 1: not JSON: recursion limit"),
        (deep("{\"text\":"), "line 1: not JSON: recursion limit"),
        (b"{\"text\": \"a\"}\n\n{\"text\": null}".to_vec(), "line 3: the field `text` is not a string"),
        (b"{\"text\": [\"a\"]}".to_vec(), "line 1: the field `text` is not a string"),
        (b"{}".to_vec(), "line 1: no field `text` and no conversation (there is nothing)"),
        (b"null".to_vec(), "line 1: not a JSON object"),
        (b"{\"text\": \"a\0b\"}".to_vec(), "line 1: not JSON: control character"),
        (b"\0\0\0\0".to_vec(), "line 1: not JSON"),
        (b"{\"text\": \"a\"}\n{\"text\": \"\xc3\"}".to_vec(), "line 2: not UTF-8 (byte 24)"),
        ([&b"{\"text\": \""[..], &b"a".repeat(10_000_000)].concat(), "line 1: not JSON: EOF"),
        (b"{\"text\": \"a\"} {\"text\": \"b\"}".to_vec(), "line 1: not JSON: trailing"),
    ];
    let path = dir.path().join("a.jsonl");
    for (contents, problem) in cases {
        fs::write(&path, contents).unwrap();
        let error = read_text(&path).unwrap_err();
        let message = error.to_string();
        assert!(
            matches!(error, Error::Text { .. }) && message.contains(&format!("a.jsonl: {problem}")),
            "{message:.200}"
        );
    }
}

#[test]
fn what_is_text_is_read_as_it_stands() {
    let dir = directory();
    let path = dir.path().join("a.jsonl");
    fs::write(&path, "{\"text\": \"a\\u0000b\", \"text\": \"\\u0000\"}").unwrap();
    assert_eq!(read_text(&path).unwrap(), ["\0"]);
    let long = format!("{{\"text\": \"{}\"}}", "a".repeat(10_000_000));
    fs::write(&path, &long).unwrap();
    assert_eq!(read_text(&path).unwrap()[0].len(), 10_000_000);
    fs::write(dir.path().join("a.txt"), "\0\n\0").unwrap();
    assert_eq!(read_wikitext(&dir.path().join("a.txt")).unwrap(), "\0\n\n\n\0\n");
}

/// A tokenizer of whole words.
fn words() -> Value {
    json!({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}})
}

fn with(key: &str, value: &Value) -> Vec<u8> {
    let mut tokenizer = words();
    tokenizer[key] = value.clone();
    tokenizer.to_string().into_bytes()
}

#[test]
fn a_file_that_holds_no_tokenizer_is_refused() {
    let model = |kind: &str, vocab: Value| with("model", &json!({"type": kind, "vocab": vocab, "merges": []}));
    let precompiled = |table: &str| json!({"type": "Precompiled", "precompiled_charsmap": table});
    let huge = "////".repeat(8);
    let cases = [
        b"not JSON".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[".repeat(1_000_000),
        b"{\"model\":".repeat(1_000_000),
        b"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[".repeat(100_000),
        with("model", &json!(7)),
        with("added_tokens", &json!({"id": 0})),
        with("added_tokens", &json!([{"id": -1, "content": "c", "special": true}])),
        model("WordLevel", json!({"a": -1})),
        model("WordLevel", json!({"a": 4_294_967_296_u64})),
        model("WordLevel", json!(["a"])),
        model("BPE", json!({"a": "0"})),
        model("Unigram", json!([["a", "heavy"]])),
        with("model", &json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]})),
        with("model", &json!({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 9})),
        with("normalizer", &precompiled(&huge)),
        with("normalizer", &json!({"type": "Sequence", "normalizers": [precompiled(&huge)]})),
        with("normalizer", &precompiled("*")),
        with(
            "pre_tokenizer",
            &json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
        ),
    ];
    let dir = directory();
    for contents in cases {
        fs::write(dir.path().join("tokenizer.json"), &contents).unwrap();
        let error = Tokenizer::open(dir.path()).err();
        let error = error.unwrap_or_else(|| panic!("accepted {:.200}", String::from_utf8_lossy(&contents)));
        let message = error.to_string();
        assert!(matches!(error, Error::Text { .. }) && message.contains("tokenizer.json: "), "{message:.200}");
    }
}

#[test]
fn a_table_of_characters_that_points_nowhere_is_an_error_when_it_is_used() {
    // a trie of one entry, whose first letter leads beyond it
    let table = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAEAAA="});
    let tokenizer = Tokenizer::from_bytes(&with("normalizer", &table)).unwrap();
    assert!(tokenizer.encode("a", false).unwrap_err().to_string().contains("cannot encode"));
}

#[test]
fn ids_beyond_any_embedding_are_known() {
    let vocab = json!({"type": "WordLevel", "vocab": {"a": 0, "b": u32::MAX}, "unk_token": "a"});
    assert_eq!(Tokenizer::from_bytes(&with("model", &vocab)).unwrap().max_id(), u32::MAX);
    let added = json!([{"id": 4_000_000_000_u32, "content": "c", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}]);
    let tokenizer = Tokenizer::from_bytes(&with("added_tokens", &added)).unwrap();
    assert!(tokenizer.encode("c", false).unwrap().iter().all(|&id| id <= tokenizer.max_id()));
    let error = builtin_text(&tokenizer, 1 << 60).unwrap_err();
    assert!(error.to_string().contains("more than") && error.hint().is_some(), "{error}");
}

#[test]
fn special_tokens_that_are_none_are_none() {
    let dir = directory();
    fs::write(dir.path().join("tokenizer.json"), words().to_string()).unwrap();
    let tokenizer = Tokenizer::open(dir.path()).unwrap();
    let read = || SpecialTokens::read(dir.path(), &tokenizer);
    let wrong = json!({"bos_token": {"content": 3}, "eos_token": ["b"], "bos_token_id": -1, "eos_token_id": u64::MAX});
    for file in ["tokenizer_config.json", "config.json"] {
        fs::write(dir.path().join(file), wrong.to_string()).unwrap();
    }
    assert_eq!(read().unwrap(), SpecialTokens::default());
    fs::write(dir.path().join("config.json"), "[".repeat(1_000_000)).unwrap();
    assert!(read().unwrap_err().to_string().contains("config.json: not JSON: recursion limit"));
}

/// What is said of the questions `rows` in a file of this name.
fn ask(file: &str, rows: &[u8]) -> lopper::Result<QuestionSet> {
    let dir = directory();
    fs::write(dir.path().join(file), rows).unwrap();
    let task = format!(
        "name = 'n'\nversion = '1'\nquestions = '{file}'\ncontext = '{{q}}'\nchoices = 'c'\ngold = 'g'\nlabels = ['x', 'y']\n"
    );
    fs::write(dir.path().join("task.toml"), task).unwrap();
    QuestionSet::read(
        Task::open(&dir.path().join("task.toml").display().to_string()).unwrap(),
        &Asking::default(),
        &mut Silent,
    )
}

#[test]
fn rows_that_are_none_are_refused() {
    let good = "{\"q\": \"a\", \"c\": [\"b\", \"c\"], \"g\": 1}\n";
    assert_eq!(ask("q.jsonl", good.as_bytes()).unwrap().questions[0].gold, 1);
    let cases: [(Vec<u8>, &str); 12] = [
        (Vec::new(), "there are no rows"),
        (b"[".repeat(1_000_000), "q.jsonl: line 1: not JSON: recursion limit"),
        ([good.as_bytes(), b"\xff\n"].concat(), "q.jsonl: line 2: not UTF-8"),
        (b"\x1f\x8b\x08".to_vec(), "q.jsonl: it cannot be read to its end"),
        (b"[1]".to_vec(), "q.jsonl: entry 1: not a JSON object"),
        (format!("{good}{{}}").into_bytes(), "row 1 (from 0) of its data: there is no field `c`"),
        (good.replace("[\"b\", \"c\"]", "[]").into_bytes(), "number 1 (from 0) of 0 choices"),
        (good.replace("[\"b\", \"c\"]", "[1, 2]").into_bytes(), "not a list of strings"),
        (good.replace('1', "2").into_bytes(), "number 2 (from 0) of 2 choices"),
        (good.replace('1', "-1").into_bytes(), "neither the number of a choice"),
        (good.replace('1', "1e300").into_bytes(), "neither the number of a choice"),
        (good.replace('1', "18446744073709551615").into_bytes(), "of 2 choices"),
    ];
    for (rows, expected) in cases {
        let message = ask("q.jsonl", &rows).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:.200}");
    }
}

fn fixture() -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks/openbookqa.train.parquet");
    fs::read(path).unwrap()
}

/// What is said of a damaged file; that it is read is fine too: not every byte counts.
fn survives(file: &[u8]) {
    if let Err(error) = ask("q.parquet", file) {
        let message = error.to_string();
        let known =
            message.contains("q.parquet: not Parquet") || message.contains("row ") || message.contains("no rows");
        assert!(known && !error.is_machine(), "{message}");
    }
}

#[test]
fn parquet_cut_anywhere_is_refused() {
    let whole = fixture();
    for length in (0..whole.len()).step_by(13).chain(whole.len() - 20..whole.len()) {
        let message = ask("q.parquet", &whole[..length]).unwrap_err().to_string();
        assert!(message.contains("q.parquet: not Parquet that can be read"), "cut to {length}: {message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_chat_template_panics(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "{{ ", " }}", "{% ", " %}", "{%- ", " -%}", "messages", "message", ".content", "['role']", "[1:]", "[-9]", " | tojson", "(indent=99999999999)",
                "(separators=(1,))", "(sort_keys=true, ensure_ascii=true)", "for message in messages", "endfor", "if tools", "else", "endif", "set x = ", " ~ ", " + ",
                "strftime_now('%-d %Q')", "raise_exception(1)", "generation", "endgeneration", "é", "\n", "namespace()", "range(9999999999)", ".split()", ".strip()", "(", ")", "{#", "#}",
            ]),
            0..16,
        ),
    ) {
        let dir = directory();
        fs::write(dir.path().join("chat_template.jinja"), pieces.concat()).unwrap();
        let rows = dir.path().join("rows.jsonl");
        fs::write(&rows, r#"{"messages": [{"role": "user", "content": "é"}, {"role": "a", "content": null}], "tools": [{"a": [1e-9]}]}"#).unwrap();
        if let Err(error) = Reader::of(dir.path()).texts(&rows) {
            prop_assert!(matches!(error, Error::Text { .. }) && error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn parquet_with_changed_bytes_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        at_the_end in any::<bool>(),
    ) {
        let mut file = fixture();
        let start = if at_the_end { file.len() - 2048.min(file.len()) } else { 0 };
        for (place, byte) in changes {
            let place = start + place.index(file.len() - start);
            file[place] = byte;
        }
        survives(&file);
    }
}
