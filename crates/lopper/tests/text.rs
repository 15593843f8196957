//! Text files and tokenizers, right and wrong ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;

use std::fs;
use std::path::PathBuf;

use files::directory;
use lopper::Error;
use lopper::text::{Tokenizer, read_documents, read_text, read_wikitext};
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    path
}

#[test]
fn plain_text_is_one_document_and_json_lines_are_many() {
    let dir = directory();
    let text = "one\r\n\ntwo  \n";
    assert_eq!(read_text(&file(&dir, "a.txt", text)).unwrap(), [text]);
    assert_eq!(read_text(&file(&dir, "bom.txt", format!("\u{feff}{text}"))).unwrap(), [text]);
    let lines = "{\"id\": 1, \"text\": \"a\\nb\"}\n\n{\"text\": \"\"}\r\n{\"text\": \"ä\"}";
    for name in ["a.jsonl", "a.ndjson", "a.JSON"] {
        assert_eq!(read_text(&file(&dir, name, lines)).unwrap(), ["a\nb", "", "ä"]);
    }
    assert_eq!(read_documents(&dir.path().join("a.jsonl")).unwrap()[2].text, "ä");
}

#[test]
fn text_that_cannot_be_used_says_where() {
    let dir = directory();
    let cases: [(&str, &[u8], &str); 10] = [
        ("empty.txt", b"", "the file holds no text"),
        ("blank.jsonl", b" \n\n", "the file holds no text"),
        ("latin1.txt", b"one\ntwo \xe4\n", "line 2: not UTF-8 (byte 8)"),
        ("utf16.txt", b"\xff\xfea\0", "this is UTF-16"),
        ("packed.txt", b"\x1f\x8b\x08", "compressed by gzip"),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n{\"content\": 1, \"id\": 2}\n",
            "line 2: no field `text` (there is `content`, `id`)",
        ),
        ("b.jsonl", b"\n{\"text\": 3}\n", "line 2: the field `text` is not a string"),
        ("c.jsonl", b"{\"text\": \"a\"\n", "line 1: not JSON"),
        ("d.json", b"[\n  {\"text\": \"a\"}\n]\n", "line 1: not JSON"),
        ("e.jsonl", b"\"a\"\n", "line 1: not a JSON object"),
    ];
    for (name, contents, problem) in cases {
        let path = file(&dir, name, contents);
        let error = read_text(&path).unwrap_err();
        assert!(matches!(error, Error::Text { .. }) && error.hint().is_some(), "{error:?}");
        assert!(
            error.to_string().starts_with(&format!("{}: ", path.display())) && error.to_string().contains(problem),
            "{error}"
        );
    }
    let error = read_text(&dir.path().join("absent.txt")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.is_machine());
}

#[test]
fn wikitext_is_joined_as_the_data_set_is() {
    let dir = directory();
    let path = file(&dir, "test.txt", " \n = Title = \n \n Text . \n \n");
    // Rows: "", " = Title = \n", "", " Text . \n", "".
    assert_eq!(read_wikitext(&path).unwrap(), "\n\n = Title = \n\n\n\n\n Text . \n\n\n");
}

/// Byte-level BPE of the letters a, b, c, space and one merge.
fn byte_level() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
        "added_tokens": [{"id": 9, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}}
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": {"a": 0, "b": 1, "c": 2, "Ġ": 3, "ab": 4, "<s>": 9}, "merges": [["a", "b"]]}
    })
}

/// `SentencePiece` style: spaces become ▁, the whole text is one word.
fn sentence_piece(model: &Value) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": model
    })
}

fn tokenizer(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

#[test]
fn texts_are_encoded_whole_whatever_the_file_says_of_truncation_and_padding() {
    let tokenizer = tokenizer(&byte_level());
    assert_eq!(tokenizer.encode("abc ab cba", false).unwrap(), [4, 2, 3, 4, 3, 2, 1, 0]);
    assert_eq!(tokenizer.encode("ab", true).unwrap(), [9, 4]);
    assert_eq!(tokenizer.encode("", false).unwrap(), [0_u32; 0]);
    assert_eq!(tokenizer.decode(&[9, 4, 2, 3, 0], true).unwrap(), "abc a");
    assert_eq!(tokenizer.decode(&[9, 4], false).unwrap(), "<s>ab");
}

#[test]
fn the_vocabulary_may_have_gaps() {
    let tokenizer = tokenizer(&byte_level());
    assert_eq!((tokenizer.vocab_size(), tokenizer.max_id()), (6, 9));
    assert_eq!((tokenizer.token_to_id("<s>"), tokenizer.token_to_id("x")), (Some(9), None));
}

#[test]
fn sentence_piece_models_of_both_kinds_are_run() {
    let vocab = json!({"<unk>": 0, "▁": 1, "a": 2, "b": 3, "▁a": 4, "ab": 5});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": [["▁", "a"], ["a", "b"]]});
    let bpe = tokenizer(&sentence_piece(&bpe));
    assert_eq!(bpe.encode("ab bab", false).unwrap(), [4, 3, 1, 3, 5]);
    assert_eq!(bpe.decode(&[4, 3, 1, 3, 5], false).unwrap(), "ab bab");
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["b", -3.0], ["▁ab", -4.0], ["ab", -3.5]]});
    let unigram = tokenizer(&sentence_piece(&unigram));
    // ▁ab costs 4 < 2 + 3.5; then ▁, b, ab.
    assert_eq!(unigram.encode("ab bab", false).unwrap(), [4, 1, 3, 5]);
}

#[test]
fn a_long_text_is_encoded_as_its_repeated_part() {
    let tokenizer = tokenizer(&byte_level());
    let part = tokenizer.encode("abc cab ", false).unwrap();
    let whole = tokenizer.encode(&"abc cab ".repeat(20_000), false).unwrap();
    assert_eq!(whole, part.repeat(20_000));
}

#[test]
fn a_missing_or_broken_tokenizer_says_what_to_do() {
    let dir = directory();
    let refusal = |dir: &TempDir| {
        let error = Tokenizer::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, Error::Text { .. }) && error.to_string().starts_with(&dir.path().display().to_string()),
            "{error:?}"
        );
        (error.to_string(), error.hint().unwrap().to_owned())
    };
    assert!(refusal(&dir).1.contains("copy the tokenizer.json"));
    file(&dir, "tokenizer.model", "x");
    assert!(refusal(&dir).1.contains("convert tokenizer.model with AutoTokenizer"));
    for broken in ["", "{", "{\"model\": {\"type\": \"None\"}}"] {
        file(&dir, "tokenizer.json", broken);
        assert!(refusal(&dir).0.contains("not a tokenizer this program can run"));
    }
    let mut empty = sentence_piece(&json!({"type": "WordLevel", "vocab": {}, "unk_token": "<unk>"}));
    file(&dir, "tokenizer.json", empty.to_string());
    assert!(Tokenizer::open(dir.path()).unwrap_err().to_string().contains("the vocabulary is empty"));
    empty["model"]["vocab"] = json!({"▁a": 0});
    file(&dir, "tokenizer.json", empty.to_string());
    let error = Tokenizer::open(dir.path()).unwrap().encode("b", false).unwrap_err();
    assert!(error.to_string().contains("cannot encode"), "{error}");
}
