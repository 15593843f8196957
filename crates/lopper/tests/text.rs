//! Text files and tokenizers, right and wrong ones.

use crate::files;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use files::directory;
use lopper::Error;
use lopper::evaluation::{ScoredText, Windows};
use lopper::text::{Reader, Tokenizer, read_text, read_wikitext};
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, contents).unwrap();
    path
}

#[test]
fn plain_text_is_one_document_with_the_line_ends_of_unix() {
    let dir = directory();
    let text = "one\n\ntwo  \n";
    assert_eq!(read_text(&file(&dir, "a.txt", text)).unwrap(), [text]);
    assert_eq!(read_text(&file(&dir, "bom.txt", format!("\u{feff}{text}"))).unwrap(), [text]);
    assert_eq!(read_text(&file(&dir, "windows.txt", text.replace('\n', "\r\n"))).unwrap(), [text]);
    assert_eq!(read_text(&file(&dir, "old.txt", text.replace('\n', "\r"))).unwrap(), [text]);
    // pieces are put together again, lines longer than one, and texts without lines, too
    for line in [10, 70_000, 300_000] {
        let long = "é x".repeat(line) + "\n";
        let text = long.repeat(2_000_000 / long.len());
        for (name, text) in
            [("lines", text.clone()), ("one", text.replace('\n', " ")), ("solid", text.replace([' ', '\n'], ""))]
        {
            assert!(read_text(&file(&dir, name, &text)).unwrap() == [text.as_str()], "{name} {line}");
            assert!(read_text(&file(&dir, name, text.replace('\n', "\r\n"))).unwrap() == [text], "{name} {line}");
        }
    }
}

/// The same three texts in every form that holds rows.
#[test]
fn what_a_file_holds_decides_not_its_name() {
    let dir = directory();
    let texts = ["a\nb", "", "ä 😀"];
    let rows: Vec<Value> = texts.iter().enumerate().map(|(id, text)| json!({"id": id, "text": text})).collect();
    let lines = rows.iter().map(|row| row.to_string() + "\r\n").collect::<String>() + "\n";
    let forms = [
        lines.clone(),
        format!("\u{feff}\n{lines}"),
        serde_json::to_string_pretty(&rows).unwrap(),
        json!(rows).to_string(),
        json!(texts).to_string(),
        lines.replace("\"id\":0", "\"id\": NaN, \"b\": -Infinity"),
        json!(rows).to_string().replace("\"id\":0", "\"id\": NaN").replace("},", "},\n"),
    ];
    for form in &forms {
        let gzip = || {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(form.as_bytes()).unwrap();
            packed.finish().unwrap()
        };
        let zstandard = || zstd::encode_all(form.as_bytes(), 1).unwrap();
        for name in ["a.jsonl", "a.ndjson", "a.JSON", "a.txt", "blob", "a.json.gz", "a.jsonl.zst"] {
            // packed parts follow on each other as texts do
            let doubled = (*form == lines).then(|| [gzip(), gzip()].concat());
            for contents in [form.clone().into_bytes(), gzip(), zstandard()].into_iter().chain(doubled) {
                let path = file(&dir, name, &contents);
                let mut reader = Reader::default();
                let read = reader.texts(&path).unwrap_or_else(|error| panic!("{name} {form}: {error}"));
                assert!(read == texts || read == [texts, texts].concat(), "{name} {form} {read:?}");
                let promised = name.to_lowercase().contains("json");
                let notes: Vec<&str> = reader.notes().collect();
                assert_eq!(notes.len(), usize::from(!promised), "{name} {notes:?}");
            }
        }
    }
}

#[test]
fn a_row_that_is_refused_leaves_the_others() {
    let dir = directory();
    let path = file(&dir, "a.jsonl", "{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}]}\n");
    let mut reader = Reader::of(dir.path());
    assert_eq!(reader.texts(&path).unwrap(), ["a"]);
    assert!(reader.notes().next().unwrap().ends_with("1 of 2 rows left out; line 2: the model has no chat template"));
}

#[test]
fn a_large_text_that_begins_like_json_takes_no_longer() {
    let dir = directory();
    // each as long as would take minutes, were the rest moved for every piece
    for start in ["{\n", "[1, 2]\n", "[Verse 1] "] {
        let text = format!("{start}{}", "words and words ".repeat(2_000_000));
        assert!(read_text(&file(&dir, "a.txt", &text)).unwrap() == [text]);
    }
}

#[test]
fn what_is_no_utf8_is_never_the_end_of_a_text() {
    let dir = directory();
    let broken = [&b"hello\nx"[..], &vec![0x80; 70_000], b" and more\n"].concat();
    assert!(read_text(&file(&dir, "a.txt", broken)).unwrap_err().to_string().contains("line 2: not UTF-8 (byte 7)"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read() {
    let dir = directory();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let lines = documents(2000);
    let (written, contents) = (pipe.clone(), lines.clone());
    let writer = std::thread::spawn(move || fs::write(written, contents));
    assert!(read_text(&pipe).unwrap() == read_text(&file(&dir, "lines", lines)).unwrap());
    writer.join().unwrap().unwrap();
}

#[test]
fn text_that_only_looks_like_json_is_text() {
    let dir = directory();
    for (text, note) in [
        ("[1] Introduction\n[2] End\n", None),
        ("{ an aside }\nand more\n", None),
        ("[1, 2]\n", None),
        (
            "{\"a\": 1}\n{\"b\": 2}\n",
            Some("its lines are JSON without a field `text`; read as plain text, braces and all"),
        ),
        ("{\n  \"a\": 1\n}\n", None),
        ("  \n\n x\n", None),
    ] {
        let path = file(&dir, "a.txt", text);
        let mut reader = Reader::default();
        assert_eq!(reader.texts(&path).unwrap(), [text]);
        let note = note.map(|note| format!("{}: {note}", path.display()));
        assert_eq!(reader.notes().collect::<Vec<_>>(), note.iter().collect::<Vec<_>>());
    }
}

#[test]
fn half_a_character_is_replaced_and_counted() {
    let dir = directory();
    let path =
        file(&dir, "a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\\ud83d\"}\n{\"text\": \"\\ude00\\ud83d\\ude00\"}\n");
    let mut reader = Reader::default();
    assert_eq!(reader.texts(&path).unwrap(), ["a", "b\u{fffd}", "\u{fffd}😀"]);
    let note = format!("{}: 2 halves of characters became U+FFFD, the first in line 2", path.display());
    assert_eq!(reader.notes().collect::<Vec<_>>(), [note]);
}

#[test]
fn text_that_cannot_be_used_says_where() {
    let dir = directory();
    let zip = b"PK\x03\x04and so on";
    let tar = [&[b'a'; 257][..], b"ustar"].concat();
    let half = zstd::encode_all(&b"some text ".repeat(10_000)[..], 1).unwrap();
    let bomb = zstd::encode_all(&vec![b' '; 1 << 26][..], 19).unwrap();
    let cases: [(&str, &[u8], &str); 29] = [
        ("empty.txt", b"", "the file holds no text"),
        ("blank.jsonl", b" \n\n", "the file holds no text"),
        ("blanks.jsonl", b"{\"text\": \" \"}", "the file holds no text"),
        ("latin1.txt", b"one\ntwo \xe4\n", "line 2: not UTF-8 (byte 8)"),
        ("utf16.txt", b"\xff\xfea\0", "this is UTF-16"),
        ("utf32.txt", b"\xff\xfe\0\0a\0\0\0", "this is UTF-32"),
        ("packed.txt", b"\x1f\x8b\x08", "it cannot be read to its end"),
        ("half.txt", &half[..half.len() / 2], "it cannot be read to its end"),
        ("bomb.txt", &bomb, "it grows to more than 256 times"),
        ("wikitext.zip", zip, "this is a zip archive"),
        ("a.tar", &tar, "this is a tar archive"),
        ("data.arrow", b"ARROW1\0\0", "this is an Arrow file"),
        ("a.parquet", b"PAR1, but not really PAR1", "not Parquet that can be read"),
        (
            "a.jsonl",
            b"{\"text\": \"a\"}\n{\"content\": 1, \"id\": 2}\n",
            "line 2: no field `text` and no conversation (there is `content`, `id`)",
        ),
        ("b.jsonl", b"\n{\"text\": 3}\n", "line 2: the field `text` is not a string"),
        ("nan.jsonl", b"{\"text\": NaN}\n", "line 1: the field `text` is not a string"),
        ("c.jsonl", b"{\"text\": \"a\"\n", "line 1: not JSON"),
        ("d.json", b"[\n  {\"text\": \"a\"},\n", "the list is cut short after entry 1"),
        ("bracket.json", b"[\n  {\"text\": \"a\"},\n{\"text\": \"b\"}\n", "the list is cut short in or after entry 2"),
        ("comma.json", b"[{\"text\": \"a\"}, {\"text\": \"b\"} {}]", "entry 2: no comma after it"),
        ("word.json", b"[{\"text\": \"a\"},\n\n {\"text\": b}]", "entry 2, in line 3: not JSON: expected value"),
        ("more.json", b"[{\"text\": \"a\"},\n {\"text\": \"b\"}]\n3", "after the end of the list there is more"),
        ("latin1.json", b"[{\"text\": \"a\"},\n {\"text\": \"\xe4\"}]", "line 2: not UTF-8 (byte 27)"),
        ("e.jsonl", b"3\n", "line 1: not a JSON object"),
        ("f.json", b"[1, 2]", "entry 1: not a JSON object"),
        ("g.json", b"{\"data\": [\n]}", "entry 1: no field `text` and no conversation (there is `data`)"),
        ("h.json", b"prose", "line 1: not JSON"),
        ("i.jsonl", b"{\"text\": \"a\"}\nprose", "line 2: not JSON"),
        ("chat.jsonl", b"{\"messages\": []}", "line 1: a conversation: reading it takes a model's chat template"),
    ];
    for (name, contents, problem) in cases {
        let path = file(&dir, name, contents);
        let error = read_text(&path).unwrap_err();
        assert!(matches!(error, Error::Text { .. }) && error.hint().is_some(), "{error:?}");
        assert!(
            error.to_string().starts_with(&format!("{}: ", path.display())) && error.to_string().contains(problem),
            "{name}: {error}"
        );
    }
    let named = file(&dir, "j.jsonl", "{\"id\": 1, \"content\": \"a\"}");
    assert!(read_text(&named).unwrap_err().hint().unwrap().contains("jq -c '{text: .content}' FILE"));
    let error = read_text(&dir.path().join("absent.txt")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.is_machine());
}

/// Goldens of transformers; each conversation alone, and all that one template renders in one file.
#[test]
fn conversations_are_rendered_as_transformers_renders_them() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat.json");
    let goldens: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    for golden in goldens.as_array().unwrap() {
        let cases = golden["cases"].as_array().unwrap();
        let dir = directory();
        let mut tokenizer = golden["tokens"].clone();
        tokenizer["chat_template"] = golden["template"].clone();
        file(&dir, "tokenizer_config.json", tokenizer.to_string());
        for case in cases {
            let rows = file(&dir, "row.jsonl", case["row"].to_string());
            let read = Reader::of(dir.path()).texts(&rows);
            match case["text"].as_str() {
                Some(text) => assert_eq!(read.unwrap(), [text], "{}", golden["template"]),
                None => assert!(
                    read.unwrap_err().to_string().contains("no conversation can be read; line 1: its chat template")
                ),
            }
        }
        let rows = file(&dir, "rows.json", cases.iter().map(|case| case["row"].to_string() + "\n").collect::<String>());
        let texts: Vec<&str> = cases.iter().filter_map(|case| case["text"].as_str()).collect();
        let mut reader = Reader::of(dir.path());
        assert_eq!(reader.texts(&rows).unwrap(), texts);
        let left_out = reader.notes().any(|note| {
            note.contains("2 of 6 rows left out; line 3: its chat template refuses it: roles must alternate")
        });
        assert_eq!(left_out, texts.len() < cases.len());
    }
}

#[test]
fn a_chat_template_is_found_where_transformers_finds_it() {
    let dir = directory();
    let plain = file(&dir, "plain.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}");
    let tools = file(
        &dir,
        "tools.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [{\"name\": \"b\"}]}",
    );
    let read = || [&plain, &tools].map(|path| Reader::of(dir.path()).texts(path).map(|texts| texts[0].clone()));
    let without = read()[0].as_ref().unwrap_err().to_string();
    assert!(without.ends_with("no conversation can be read; line 1: the model has no chat template"), "{without}");
    file(&dir, "tokenizer_config.json", json!({"chat_template": "config {{ (tools or []) | length }}"}).to_string());
    assert_eq!(read().map(Result::unwrap), ["config 0", "config 1"]);
    let named =
        json!({"chat_template": [{"name": "default", "template": "named"}, {"name": "tool_use", "template": "tools"}]});
    file(&dir, "tokenizer_config.json", named.to_string());
    assert_eq!(read().map(Result::unwrap), ["named", "tools"]);
    file(&dir, "chat_template.json", json!({"chat_template": "processor"}).to_string());
    assert_eq!(read().map(Result::unwrap), ["processor", "tools"]);
    fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
    file(&dir, "additional_chat_templates/tool_use.jinja", "own tools\n");
    file(&dir, "chat_template.jinja", "own {{ strftime_now('%d %B %Y') }}\n");
    assert_eq!(read().map(Result::unwrap), ["own 26 July 2024", "own tools"]);
}

/// A thousand documents of which every word tells the place.
fn documents(count: usize) -> String {
    (0..count).map(|document| json!({"text": format!("d{document} ").repeat(600)}).to_string() + "\n").collect()
}

#[test]
fn directories_and_patterns_stand_for_their_files() {
    let dir = directory();
    file(&dir, "b.jsonl", documents(1));
    file(&dir, "a.txt", "some words");
    for beside in ["README.md", "dataset_info.json", ".hidden", "_SUCCESS"] {
        file(&dir, beside, "not a text");
    }
    fs::create_dir(dir.path().join("within")).unwrap();
    let tokenizer = tokenizer(&json!({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}));
    let windows = Windows { length: 2, count: None };
    let names = |path: &Path| {
        let read =
            ScoredText::read_all([&[path.to_owned()], &[]], &tokenizer, windows, &mut Reader::default(), &mut |_| ());
        read.map(|texts| texts.iter().map(|text| text.name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(dir.path()).unwrap(), ["a.txt", "b.jsonl"]);
    assert_eq!(names(&dir.path().join("*.t?t")).unwrap(), ["a.txt"]);
    file(&dir, "[x].txt", "the name of a file is no pattern");
    assert_eq!(names(&dir.path().join("[x].txt")).unwrap(), ["[x].txt"]);
    for (path, problem) in [
        ("within", "the directory holds no files of text"),
        ("*.none", "no file has such a name"),
        ("none.txt", "cannot read"),
    ] {
        let error = names(&dir.path().join(path)).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn of_a_scored_text_no_more_is_read_than_its_windows_take() {
    let dir = directory();
    let tokenizer = tokenizer(&json!({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}));
    // what is wrong with the last row is never seen
    let lines = documents(2000) + "nope";
    for (name, rows, problem) in [
        ("a.jsonl", lines.clone(), "line 2001: not JSON"),
        ("a.json", format!("[{}]", lines.replace('\n', ",\n")), "entry 2001, in line 2001: not JSON"),
        ("b.json", format!("[{}]", lines.replace('\n', ",")), "entry 2001, in line 1: not JSON"),
        ("values", lines.replace('{', "{\n"), "entry 2001, in line 4001: not JSON"),
    ] {
        let path = file(&dir, name, rows);
        let read = |count| {
            let (windows, mut reader) = (Windows { length: 100, count }, Reader::default());
            ScoredText::read_all([std::slice::from_ref(&path), &[]], &tokenizer, windows, &mut reader, &mut |_| ())
        };
        let tokens = read(Some(3)).unwrap()[0].tokens.len();
        assert!((300..400_000).contains(&tokens), "{name}: {tokens}");
        let error = read(None).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_chat_template_that_does_not_end_is_stopped() {
    let dir = directory();
    let rows = file(&dir, "rows.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}");
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for %}",
    ] {
        file(&dir, "chat_template.jinja", template);
        let error = Reader::of(dir.path()).texts(&rows).unwrap_err();
        assert!(error.to_string().contains("its chat template refuses it"), "{error}");
    }
}

#[test]
fn wikitext_is_joined_as_the_data_set_is() {
    let dir = directory();
    // Rows: "", " = Title = \n", "", " Text . \n", "".
    let joined = "\n\n = Title = \n\n\n\n\n Text . \n\n\n";
    let lines = " \n = Title = \n \n Text . \n \n";
    assert_eq!(read_wikitext(&file(&dir, "test.txt", lines)).unwrap(), joined);
    assert_eq!(read_wikitext(&file(&dir, "crlf.txt", lines.replace('\n', "\r\n"))).unwrap(), joined);
    let rows =
        ["", " = Title = \n", "", " Text . \n", ""].map(|text| json!({"text": text}).to_string() + "\n").concat();
    assert_eq!(read_wikitext(&file(&dir, "rows.jsonl", rows)).unwrap(), joined);
    // over the ends of pieces
    let many = " = Title = \n\n some words \n".repeat(20_000);
    let rows: Vec<String> = many
        .split_terminator('\n')
        .map(|line| if line.is_empty() { String::new() } else { format!("{line}\n") })
        .collect();
    assert!(read_wikitext(&file(&dir, "long.txt", &many)).unwrap() == rows.join("\n\n"));
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

/// With special tokens, of which these tokenizers have none around a text, a text is encoded at one time.
#[test]
fn a_long_text_has_the_tokens_of_the_whole() {
    let byte_level = json!({"post_processor": null, "added_tokens": []}).as_object().unwrap().iter().fold(
        byte_level(),
        |mut tokenizer, (key, value)| {
            tokenizer[key] = value.clone();
            tokenizer
        },
    );
    let vocab = json!({"<unk>": 0, "▁": 1, "a": 2, "b": 3, "▁a": 4, "ab": 5, "c": 6});
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": true, "byte_fallback": false, "vocab": vocab, "merges": [["▁", "a"], ["a", "b"]]});
    for tokenizer in [byte_level, sentence_piece(&bpe)].map(|json| tokenizer(&json)) {
        let mut random = 1_u32;
        let mut letters = |count: usize| -> String {
            (0..count)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ['a', 'b', 'c', ' '][(random >> 30) as usize]
                })
                .collect()
        };
        let text = letters(700_000);
        assert!(tokenizer.encode(&text, false).unwrap() == tokenizer.encode(&text, true).unwrap());
        // a last part of a few letters
        for end in [1, 5, 8192, 8193] {
            let text = &text[..3 * (1 << 17) + end];
            assert!(tokenizer.encode(text, false).unwrap() == tokenizer.encode(text, true).unwrap());
        }
        // nothing by which to tell places apart
        let text = "ab".repeat(200_000);
        assert!(tokenizer.encode(&text, false).unwrap() == tokenizer.encode(&text, true).unwrap());
        let texts = [letters(10), letters(400_000), String::new(), letters(5)];
        let each = texts.each_ref().map(|text| tokenizer.encode(text, false).unwrap());
        assert!(tokenizer.encode_all(&texts).unwrap() == each.concat());
    }
}

#[test]
fn a_token_that_the_model_does_not_know_is_refused_where_a_text_has_it() {
    let tokenizer = tokenizer(&byte_level()).within(9);
    assert_eq!(tokenizer.encode("abc", false).unwrap(), [4, 2]);
    let error = tokenizer.encode("ab<s>", false).unwrap_err();
    assert!(error.to_string().contains("the token 9 (\"<s>\"), and the model knows only 9 tokens"), "{error}");
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
