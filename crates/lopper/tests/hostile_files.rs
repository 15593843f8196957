//! Broken and malicious files: each gives an error that names the file and what is wrong with it, and none a panic.

use crate::files;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use files::{directory, file_with_header, safetensors, stored, write_index, write_sharded, write_single};
use lopper::Error;
use lopper::checkpoint::{Checkpoint, Header};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// Opens a directory that must not open, and returns message and hint.
fn refusal(dir: &Path) -> (String, String) {
    let error = Checkpoint::open(dir).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&dir.display().to_string()), "names the place: {error}");
    (error.to_string(), error.hint().unwrap_or_default().to_owned())
}

fn small_file() -> Vec<u8> {
    safetensors(&[stored("a", "F32", &[2, 3]), stored("b", "BF16", &[4]), stored("c", "F16", &[1])])
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let dir = directory();
    let whole = small_file();
    assert!(Header::parse(&whole).is_ok());
    for length in 0..whole.len() {
        let problem = Header::parse(&whole[..length]).unwrap_err();
        let expected = if length < 8 { "too few" } else { "truncated" };
        assert!(problem.contains(expected), "cut to {length}: {problem}");
    }
    // Through the file as well: empty, in the length, in the header, in a tensor.
    for length in [0, 3, 8, 20, whole.len() - 3] {
        write_single(dir.path(), &whole[..length]);
        let (message, hint) = refusal(dir.path());
        assert!(message.contains("model.safetensors") && !hint.is_empty());
    }
    write_single(dir.path(), &whole[..whole.len() - 3]);
    let (message, hint) = refusal(dir.path());
    assert!(message.contains("2 tensors are incomplete, first `b`"), "{message}");
    assert!(hint.contains("fetch the file again"));
}

#[test]
fn a_header_that_lies_is_refused_with_the_tensor_that_does() {
    let entry = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let a = entry("a", "F32", "[1]", "[0,4]");
    let cases = [
        (format!("{{{a},{}}}", entry("b", "F32", "[1]", "[2,6]")), "tensor `b` starts at byte", "overlaps a"),
        (format!("{{{a},{}}}", entry("b", "U8", "[2]", "[6,8]")), "leaves a gap after a", "`b`"),
        (format!("{{{a}}}"), "4 bytes follow the last tensor, a", "belong to none"),
        (format!("{{{a},{a}}}"), "tensor `a` is described twice", ""),
        (
            format!("{{{}}}", entry("a", "F32", "[3]", "[0,8]")),
            "`a` is F32 [3], which takes 96 bits",
            "0..8 hold 8 bytes",
        ),
        (format!("{{{}}}", entry("a", "F32", "[2]", "[8,0]")), "`a` ends at offset 0, before it begins at 8", ""),
        (format!("{{{}}}", entry("a", "F99", "[2]", "[0,8]")), "tensor `a` has the unknown dtype `F99`", ""),
        (
            format!("{{{}}}", entry("a", "F32", "[4294967296,4294967296]", "[0,8]")),
            "more elements than can be addressed",
            "`a`",
        ),
        (
            format!("{{{}}}", entry("a", "F32", "[18446744073709551615,2,0]", "[0,0]")),
            "more elements than can be addressed",
            "`a`",
        ),
        (
            format!("{{{}}}", entry("a", "U8", "[0]", "[18446744073709551615,18446744073709551615]")),
            "impossible offsets",
            "`a`",
        ),
        (format!("{{{}}}", entry("a", "F32", "[-2]", "[0,8]")), "tensor `a`: invalid value", "-2"),
        (format!("{{{}}}", entry("a", "F32", "[2]", "[0,1e9]")), "tensor `a`: invalid type", ""),
        (format!("{{{}}}", entry("a", "F4", "[3]", "[0,8]")), "takes 12 bits", "`a`"),
        (r#"{"a":{"dtype":"F32","shape":[2]}}"#.into(), "tensor `a`: missing field `data_offsets`", ""),
        (r#"{"__metadata__":{"format":1}}"#.into(), "not what safetensors defines", ""),
        ("[1,2]".into(), "not what safetensors defines", "a map from tensor names"),
        ("{\"a\":".into(), "not what safetensors defines", "EOF"),
        (format!("{{\"a\":{}", "[".repeat(10_000)), "not what safetensors defines", "invalid type"),
        (format!("{{\"a\":{{\"x\":{}", "[".repeat(10_000)), "tensor `a`", "EOF"),
        (
            format!("{{{}}}", a.replace("\"shape\":[1]", "\"shape\":[1],\"shape\":[1]")),
            "tensor `a`: duplicate field `shape`",
            "",
        ),
        (String::new(), "not what safetensors defines", ""),
    ];
    for (header, first, second) in cases {
        let problem = Header::parse(&file_with_header(&header, &[0; 8])).unwrap_err();
        assert!(problem.contains(first) && problem.contains(second), "{header:.80}: {problem}");
    }
}

#[test]
fn a_header_that_is_not_utf_8_is_refused() {
    let mut invalid = file_with_header(r#"{"a?":1}"#, &[]);
    invalid[11] = 0xff;
    assert!(Header::parse(&invalid).unwrap_err().contains("not what safetensors defines"));
}

#[test]
fn a_header_of_absurd_length_is_refused_without_reading_it() {
    for length in [u64::MAX, 1 << 62, 100_000_001] {
        let problem = Header::parse(&[&length.to_le_bytes()[..], &[b' '; 64]].concat()).unwrap_err();
        assert!(problem.contains(&format!("claims {length} bytes")), "{problem}");
    }
}

#[test]
fn other_formats_under_the_right_name_get_their_own_advice() {
    let dir = directory();
    let contents: [(&[u8], &str); 4] = [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"PK\x03\x04 and the rest of an archive", "safe_serialization=True"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (&[0x80, 2, 0x8a, 0x0a, 0, 0, 0, 0, 0, 0], "safe_serialization=True"),
    ];
    for (bytes, advice) in contents {
        write_single(dir.path(), bytes);
        let (message, hint) = refusal(dir.path());
        assert!(hint.contains(advice), "{message} / {hint}");
    }
}

#[test]
fn directories_without_safetensors_are_told_what_they_hold() {
    let cases = [
        ("pytorch_model.bin", "PyTorch weights", "safe_serialization=True"),
        ("pytorch_model-00001-of-00002.bin", "PyTorch weights", "safe_serialization=True"),
        ("model-Q4.gguf", "a GGUF file", "prune the checkpoint it was made from"),
        ("tf_model.h5", "TensorFlow weights", "safe_serialization=True"),
        ("flax_model.msgpack", "Flax weights", "safe_serialization=True"),
        ("weights.safetensors", "safetensors of other names", "name it model.safetensors"),
        ("notes.txt", "neither model.safetensors nor", "config.json and weights"),
    ];
    for (file, problem, advice) in cases {
        let dir = directory();
        fs::write(dir.path().join(file), "x").unwrap();
        let (message, hint) = refusal(dir.path());
        assert!(message.contains(problem) && hint.contains(advice), "{file}: {message} / {hint}");
    }
    let dir = directory();
    write_single(dir.path(), &small_file());
    assert!(refusal(&dir.path().join("model.safetensors")).1.contains("directory that holds"));
    assert!(refusal(&dir.path().join("absent")).0.contains("no such directory"));
}

#[test]
fn an_index_and_its_shards_must_agree() {
    let dir = directory();
    let shards = || [vec![stored("a", "F32", &[2])], vec![stored("b", "F32", &[2])]];
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let fresh = || write_sharded(dir.path(), &shards());
    fresh();
    let names: Vec<String> = Checkpoint::open(dir.path()).unwrap().names().map(str::to_owned).collect();
    assert_eq!(names, ["a", "b"]);

    fs::remove_file(dir.path().join(two)).unwrap();
    assert!(refusal(dir.path()).0.contains(&format!("shard {two}, named by model.safetensors.index.json, is missing")));
    let cases = [
        (format!(r#""a":"{one}","b":"{two}","c":"{two}""#), format!("puts tensor `c` in {two}, but no shard has it")),
        (format!(r#""a":"{two}","b":"{one}""#), format!("puts tensor `a` in {two}, but it is in {one}")),
        (r#""a":"../../etc/passwd""#.into(), "`../../etc/passwd`, which is not a file of this directory".into()),
        (r#""a":"/etc/passwd""#.into(), "not a file of this directory".into()),
        (r#""a":"..""#.into(), "not a file of this directory".into()),
        (r#""a":"""#.into(), "not a file of this directory".into()),
        (r#""a":"..\\up.safetensors""#.into(), "not a file of this directory".into()),
        (r#""a":"down/model.safetensors""#.into(), "not a file of this directory".into()),
        (r#""a":"model\u0000.safetensors""#.into(), "is missing".into()),
        (r#""a":"config.json""#.into(), "config.json: its header claims".into()),
        (format!(r#""a":{}"#, "[".repeat(100_000)), "not a safetensors index".into()),
        (r#""a":7"#.into(), "not a safetensors index".into()),
        (String::new(), "the index names no tensor".into()),
    ];
    for (entries, problem) in cases {
        fresh();
        write_index(dir.path(), &entries);
        let (message, hint) = refusal(dir.path());
        assert!(message.contains(&problem) && !hint.is_empty(), "{message}");
    }
    fresh();
    fs::write(dir.path().join(two), safetensors(&[stored("a", "F32", &[2]), stored("b", "F32", &[2])])).unwrap();
    assert_eq!(Checkpoint::open(dir.path()).unwrap().info("a").unwrap().shard, 0, "the index decides");
    write_index(dir.path(), &format!(r#""b":"{one}","c":"{two}""#));
    fs::write(dir.path().join(one), safetensors(&[stored("a", "F32", &[2]), stored("b", "F32", &[2])])).unwrap();
    fs::write(dir.path().join(two), safetensors(&[stored("a", "F32", &[2]), stored("c", "F32", &[2])])).unwrap();
    assert!(refusal(dir.path()).0.contains(&format!("tensor `a` is also in {one}")), "the index does not say");
    fs::write(dir.path().join("model.safetensors.index.json"), "{").unwrap();
    assert!(refusal(dir.path()).0.contains("not a safetensors index"));
}

#[test]
fn a_configuration_must_be_there_and_be_json() {
    let dir = directory();
    write_single(dir.path(), &small_file());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    fs::write(dir.path().join("config.json"), "{\"a\": }").unwrap();
    assert!(checkpoint.config_json().unwrap_err().to_string().contains("config.json: not valid JSON"));
    fs::remove_file(dir.path().join("config.json")).unwrap();
    let error = checkpoint.config_json().unwrap_err();
    assert!(error.to_string().ends_with("config.json: missing") && error.hint().is_some());
}

/// Both readers accept the file and see the same tensors, or both refuse it; this one also refuses repeated names.
fn assert_same_verdict(file: &[u8]) {
    match (Header::parse(file), SafeTensors::read_metadata(file)) {
        (Ok(header), Ok((length, metadata))) => {
            assert_eq!(header.length, length + 8);
            let ours: BTreeSet<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            let theirs = metadata.tensors();
            assert_eq!(ours, theirs.keys().map(String::as_str).collect());
            for tensor in &header.tensors {
                let info = theirs[&tensor.name];
                assert_eq!((tensor.dtype, &tensor.shape), (info.dtype, &info.shape));
                let (begin, end) = info.data_offsets;
                assert_eq!(tensor.bytes, begin + header.length..end + header.length);
                assert!(file.get(tensor.bytes.clone()).is_some());
            }
        }
        (Err(_), Err(_)) => {}
        (Err(problem), Ok(_)) => assert!(problem.contains("described twice"), "{problem}"),
        (Ok(header), Err(error)) => {
            panic!("accepted what the reference refuses ({error}): {header:?}")
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic_and_the_verdict_is_that_of_the_reference(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = small_file();
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        assert_same_verdict(&file);
    }

    #[test]
    fn changed_numbers_and_words_never_panic(
        places in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(WORDS)), 1..3),
        bytes in 0_usize..64,
    ) {
        let whole = small_file();
        let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let mut header = String::from_utf8(whole[8..8 + length].to_vec()).unwrap();
        for (place, word) in places {
            // Replaces one token between punctuation.
            let tokens: Vec<(usize, &str)> = header.match_indices(|letter: char| "[]{},:\"".contains(letter)).collect();
            let (start, _) = tokens[place.index(tokens.len())];
            let end = tokens.iter().map(|(at, _)| *at).find(|at| *at > start).unwrap_or(header.len());
            header.replace_range(start + 1..end, word);
        }
        assert_same_verdict(&file_with_header(&header, &vec![0; bytes]));
    }
}

const WORDS: &[&str] = &[
    "0",
    "1",
    "4",
    "24",
    "32",
    "34",
    "18446744073709551615",
    "9223372036854775808",
    "-1",
    "1e308",
    "a",
    "b",
    "F16",
    "I64",
    "F4",
    "C64",
    "shape",
    "null",
    "true",
    "__metadata__",
    "\\u0000",
    "\\ud800",
    "",
    "[",
    "}",
    ",",
];
