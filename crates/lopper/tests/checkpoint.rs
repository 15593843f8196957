//! Round trips: what is written is what was given, and what was not touched is what was there.
#![allow(clippy::float_cmp, reason = "copies are exact")]

use crate::files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use files::{Stored, directory, file_with_header, listing, safetensors, stored, write_sharded, write_single};
use half::{bf16, f16};
use lopper::Error;
use lopper::checkpoint::{Changes, Checkpoint, Composition, Cut, Dtype, Rewrite, StorageDtype, verify_untouched};
use lopper::tensor::Tensor;

const DTYPES: [&str; 3] = ["F32", "F16", "BF16"];

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.host().to_vec()
}

fn ramp(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|index| index as f32 * 0.123 - 1.7).collect();
    Tensor::new(shape, values)
}

fn model(dtype: &'static str) -> Vec<Stored> {
    vec![
        stored("embed.weight", dtype, &[7, 5]),
        stored("layer.weight", dtype, &[3, 2, 2]),
        stored("buffer", "I64", &[3]),
        stored("empty", dtype, &[0, 4]),
        stored("norm.weight", dtype, &[5]),
        stored("scale", dtype, &[]),
    ]
}

#[test]
fn every_half_widens_exactly() {
    let bits: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut widened = vec![0.0; 1 << 16];
    StorageDtype::F16.decode(&bits, &mut widened);
    for (pattern, value) in (0..=u16::MAX).zip(&widened) {
        assert!(
            value.is_nan() == f16::from_bits(pattern).is_nan() && (value.is_nan() || *value == reference_f16(pattern)),
            "{pattern:#x}"
        );
    }
    StorageDtype::BF16.decode(&bits, &mut widened);
    for (pattern, value) in (0..=u16::MAX).zip(&widened) {
        assert_eq!(value.to_bits(), u32::from(pattern) << 16);
    }
}

/// IEEE 754: (−1)^s 2^(e−15) (1 + m/1024), subnormals 2^(−14) m/1024.
fn reference_f16(bits: u16) -> f32 {
    let (sign, exponent, mantissa) = (bits >> 15, (bits >> 10 & 31) as i32, f64::from(bits & 1023) / 1024.0);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-14),
        31 => f64::INFINITY,
        _ => (1.0 + mantissa) * 2f64.powi(exponent - 15),
    };
    (if sign == 1 { -magnitude } else { magnitude }) as f32
}

#[test]
fn narrowing_rounds_to_nearest_and_ties_to_even() {
    for (storage, largest) in [(StorageDtype::F16, 0x7bff_u16), (StorageDtype::BF16, 0x7f7f)] {
        let widen = |bits: u16| {
            if storage == StorageDtype::F16 { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() }
        };
        let mut inputs = Vec::new();
        let mut expected = Vec::new();
        for low in 0..largest {
            let middle = f64::midpoint(f64::from(widen(low)), f64::from(widen(low + 1)));
            let middle = middle as f32;
            inputs.extend([widen(low), middle.next_down(), middle, middle.next_up(), -middle]);
            let even = low + (low & 1);
            expected.extend([low, low, even, low + 1, even | 0x8000]);
        }
        let mut bytes = vec![0; inputs.len() * 2];
        storage.encode(&inputs, &mut bytes);
        for ((input, expected), bytes) in inputs.iter().zip(expected).zip(bytes.chunks(2)) {
            assert_eq!(u16::from_le_bytes([bytes[0], bytes[1]]), expected, "{storage:?} {input:e}");
        }
    }
}

#[test]
fn tensors_are_read_as_the_reference_library_wrote_them() {
    let dir = directory();
    let bytes: Vec<u8> = (0..6).flat_map(|index| bf16::from_f32(index as f32 - 2.5).to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(Dtype::BF16, vec![2, 3], &bytes).unwrap();
    write_single(dir.path(), &safetensors::serialize([("a", view)], None).unwrap());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let tensor = checkpoint.tensor_f32("a").unwrap();
    assert_eq!((tensor.shape(), tensor.host()), (&[2, 3][..], &[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5][..]));
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(checkpoint.info("a").unwrap().storage(), Some(StorageDtype::BF16));
    assert_eq!((checkpoint.total_bytes(), checkpoint.shards().len(), checkpoint.dir()), (12, 1, dir.path()));
    assert_eq!(checkpoint.config_json().unwrap()["model_type"], "llama");
}

#[test]
fn rows_are_slices_of_the_whole() {
    let dir = directory();
    for dtype in DTYPES {
        write_single(dir.path(), &safetensors(&model(dtype)));
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for name in ["embed.weight", "layer.weight", "norm.weight"] {
            let whole = checkpoint.tensor_f32(name).unwrap();
            let rows = checkpoint.rows_f32(name, 1..3).unwrap();
            assert_eq!(rows, whole.rows(1..3).unwrap());
            let gathered = checkpoint.gather_rows_f32(name, &[2, 0, 2]).unwrap();
            let chosen = [2, 0, 2].map(|row| values(&whole.rows(row..row + 1).unwrap()));
            assert_eq!(values(&gathered), chosen.concat());
            assert_eq!((gathered.shape()[0], &gathered.shape()[1..]), (3, &whole.shape()[1..]));
        }
        assert_eq!(checkpoint.rows_f32("embed.weight", 7..7).unwrap().shape(), [0, 5]);
        assert!(checkpoint.tensor_f32("scale").unwrap().shape().is_empty());
        assert_eq!(checkpoint.gather_rows_f32("embed.weight", &[]).unwrap().shape(), [0, 5]);
    }
}

#[test]
fn impossible_reads_say_what_was_asked() {
    let dir = directory();
    write_single(dir.path(), &safetensors(&model("F16")));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let message = |result: lopper::Result<Tensor>| result.unwrap_err().to_string();
    assert!(
        message(checkpoint.rows_f32("embed.weight", 6..8))
            .ends_with("tensor `embed.weight` has 7 rows; rows 6..8 were asked for")
    );
    assert!(message(checkpoint.gather_rows_f32("embed.weight", &[7])).contains("row 7"));
    assert!(message(checkpoint.rows_f32("scale", 0..1)).contains("scalar"));
    assert!(message(checkpoint.tensor_f32("buffer")).contains("`buffer` is stored as I64"));
    let error = checkpoint.tensor_f32("model.norm.weight").unwrap_err();
    assert!(error.to_string().contains("no tensor `model.norm.weight`"));
    assert_eq!(error.hint(), Some("there is `norm.weight`"));
}

#[test]
fn a_rewrite_replaces_one_tensor_and_nothing_else() {
    for dtype in DTYPES {
        for sharded in [false, true] {
            check_rewrite(dtype, sharded);
        }
    }
}

fn check_rewrite(dtype: &'static str, sharded: bool) {
    let dir = directory();
    let input = dir.path().join("in");
    if sharded {
        write_sharded(&input, &[model(dtype), vec![stored("head.weight", dtype, &[2, 2])]]);
    } else {
        write_single(&input, &safetensors(&model(dtype)));
    }
    let source = Checkpoint::open(&input).unwrap();
    let replacement = ramp(&[3, 2, 2]);
    let out = dir.path().join("out");
    let mut rewrite = Rewrite::begin(&source, &out).unwrap();
    rewrite.put("layer.weight", &Tensor::zeros([3, 2, 2])).unwrap();
    rewrite.put("layer.weight", &replacement).unwrap();
    let storage = source.info("layer.weight").unwrap().storage().unwrap();
    let mut expected = vec![0; 12 * storage.size()];
    storage.encode(&values(&replacement), &mut expected);
    let mut stored = vec![0.0; 12];
    storage.decode(&expected, &mut stored);
    assert_eq!(values(&rewrite.get("layer.weight").unwrap().unwrap()), stored);
    assert!(rewrite.get("other").unwrap().is_none());
    rewrite.publish().unwrap();

    assert_eq!(listing(&out), listing(&input));
    assert_eq!(listing(dir.path()), ["in", "out"]);
    let result = Checkpoint::open(&out).unwrap();
    verify_untouched(&source, &result, &BTreeSet::from(["layer.weight".to_owned()])).unwrap();
    assert_eq!(result.bytes("layer.weight").unwrap(), expected);
    for name in listing(&input) {
        let (mut before, mut after) = (fs::read(input.join(&name)).unwrap(), fs::read(out.join(&name)).unwrap());
        let info = source.info("layer.weight").unwrap();
        if name == source.shards()[info.shard].file {
            assert_ne!(before, after);
            before[info.bytes.clone()].fill(0);
            after[info.bytes.clone()].fill(0);
        }
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn replacements_of_every_shape_are_what_is_read() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    let mut rewrite = Rewrite::begin(&source, &dir.path().join("out")).unwrap();
    let matrix = ramp(&[35]).reshape([7, 5]).unwrap();
    rewrite.put("embed.weight", &matrix).unwrap();
    rewrite.put("norm.weight", &ramp(&[9]).rows(2..7).unwrap()).unwrap();
    rewrite.put("empty", &ramp(&[0, 4])).unwrap();
    rewrite.put("scale", &Tensor::scalar(1.5)).unwrap();
    rewrite.publish().unwrap();
    let result = Checkpoint::open(&dir.path().join("out")).unwrap();
    assert_eq!(values(&result.tensor_f32("embed.weight").unwrap()), values(&matrix));
    assert_eq!(values(&result.tensor_f32("norm.weight").unwrap()), values(&ramp(&[9]))[2..7]);
    assert_eq!(result.tensor_f32("scale").unwrap().item().unwrap(), 1.5);
}

#[test]
fn an_unusual_layout_is_kept_to_the_byte() {
    let dir = directory();
    // Named in another order than stored, padded with spaces, free-form metadata.
    let header = r#"{"z":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},"__metadata__":{"who":"me","format":"np"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    "#;
    let file = file_with_header(header, &[0, 0, 128, 63, 0, 0, 0, 64]);
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &file)).unwrap();
    assert_eq!(source.shards()[0].header.metadata["who"], "me");
    let out = dir.path().join("out");
    let mut rewrite = Rewrite::begin(&source, &out).unwrap();
    rewrite.put("z", &Tensor::new([1], vec![3.0])).unwrap();
    rewrite.publish().unwrap();
    assert_eq!(
        fs::read(out.join("model.safetensors")).unwrap(),
        file_with_header(header, &[0, 0, 128, 63, 0, 0, 64, 64])
    );
}

#[test]
fn companions_follow_and_other_weights_stay() {
    let dir = directory();
    let input = write_single(&dir.path().join("in"), &safetensors(&model("F32")));
    let companions = [
        "LICENSE",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "modeling_x.py",
        "tokenizer.json",
        "tokenizer.model",
    ];
    for name in companions {
        fs::write(input.join(name), format!("contents of {name}")).unwrap();
    }
    for name in [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "model.gguf",
        ".gitattributes",
        "model.safetensors.index.json",
    ] {
        fs::write(input.join(name), "x").unwrap();
    }
    fs::create_dir(input.join("onnx")).unwrap();
    let source = Checkpoint::open(&input).unwrap();
    let out = dir.path().join("out");
    let mut rewrite = Rewrite::begin(&source, &out).unwrap();
    rewrite.add_file("report.json", b"{}").unwrap();
    rewrite.add_file("config.json", b"changed").unwrap();
    for name in ["../escape", "a/b", "", "..", "model.safetensors", "model.safetensors.index.json"] {
        assert!(matches!(rewrite.add_file(name, b""), Err(Error::Checkpoint { .. })), "{name}");
    }
    rewrite.publish().unwrap();
    let mut expected = companions.map(str::to_owned).to_vec();
    expected.extend(["model.safetensors".into(), "report.json".into()]);
    expected.sort();
    assert_eq!(listing(&out), expected);
    assert_eq!(fs::read(out.join("config.json")).unwrap(), b"changed");
    assert_eq!(fs::read(out.join("merges.txt")).unwrap(), b"contents of merges.txt");
}

#[test]
fn impossible_replacements_are_refused_and_the_original_stays() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F16")))).unwrap();
    let out = dir.path().join("out");
    let mut rewrite = Rewrite::begin(&source, &out).unwrap();
    rewrite.put("norm.weight", &ramp(&[5])).unwrap();
    let mut refused = |name: &str, tensor: &Tensor, part: &str| {
        let message = rewrite.put(name, tensor).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains(name), "{message}");
    };
    refused("embed.weight", &ramp(&[5, 7]), "has the shape [7, 5], its replacement [5, 7]");
    refused("absent", &ramp(&[1]), "no tensor `absent`");
    refused("buffer", &ramp(&[3]), "I64");
    // 65520 is the first value that rounds beyond the range of f16.
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (65520.0, "6.552e4")] {
        let bad = Tensor::new([5], vec![0.0, 1.0, value, 2.0, 3.0]);
        refused("norm.weight", &bad, &format!("would hold {text} at [2]"));
    }
    rewrite.put("scale", &Tensor::scalar(65519.0)).unwrap();
    rewrite.publish().unwrap();
    let result = Checkpoint::open(&out).unwrap();
    verify_untouched(&source, &result, &BTreeSet::from(["scale".to_owned()])).unwrap();
    assert_eq!(result.tensor_f32("scale").unwrap().item().unwrap(), 65504.0);
}

#[test]
fn outputs_that_would_destroy_something_are_refused() {
    let dir = directory();
    let root = dir.path();
    let input = write_single(&root.join("in"), &safetensors(&model("F32")));
    let source = Checkpoint::open(&input).unwrap();
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/file"), "").unwrap();
    fs::write(root.join("file"), "").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&input, root.join("link")).unwrap();
    let before = listing(root);
    let mut cases = vec![
        ("in", "the output is the input"),
        ("in/../in", "the output is the input"),
        ("in/out", "the output is inside the input"),
        ("full", "exists and is not empty"),
        (".", "exists and is not empty"),
        ("file", "exists and is not a directory"),
        ("absent/out", "is not a directory"),
        ("absent/..", "no name for a new directory"),
    ];
    if cfg!(unix) {
        cases.extend([("link", "the output is the input"), ("link/out", "the output is inside the input")]);
    }
    for (out, problem) in cases {
        let error = Rewrite::begin(&source, &root.join(out)).unwrap_err();
        assert!(error.to_string().contains(problem) && error.hint().is_some() && !error.is_machine(), "{out}: {error}");
    }
    assert_eq!(listing(root), before);
    assert_eq!(listing(&input), ["config.json", "model.safetensors"]);
}

#[test]
fn an_abandoned_rewrite_leaves_nothing() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    let mut rewrite = Rewrite::begin(&source, &dir.path().join("out")).unwrap();
    rewrite.put("norm.weight", &ramp(&[5])).unwrap();
    assert_eq!(listing(dir.path()).len(), 2, "the unfinished directory and the input");
    drop(rewrite);
    assert_eq!(listing(dir.path()), ["in"]);
}

#[test]
fn an_output_can_be_opened_before_it_is_published() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    let out = dir.path().join("out");
    let mut rewrite = Rewrite::begin(&source, &out).unwrap();
    rewrite.put("norm.weight", &ramp(&[5])).unwrap();
    let unpublished = Checkpoint::open(rewrite.complete().unwrap()).unwrap();
    assert_eq!(values(&unpublished.tensor_f32("norm.weight").unwrap()), values(&ramp(&[5])));
    verify_untouched(&source, &unpublished, &BTreeSet::from(["norm.weight".to_owned()])).unwrap();
    assert!(!out.exists());
    // A replacement that fails after completion does not get into the output half-written.
    let bad = Tensor::new([5], vec![1.0, f32::NAN, 1.0, 1.0, 1.0]);
    assert!(rewrite.put("norm.weight", &bad).is_err());
    rewrite.publish().unwrap();
    verify_untouched(&source, &Checkpoint::open(&out).unwrap(), &BTreeSet::new()).unwrap();
}

#[test]
fn an_empty_output_directory_is_used_and_a_filled_one_kept() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    Rewrite::begin(&source, &out).unwrap().publish().unwrap();
    assert!(Checkpoint::open(&out).is_ok());
    // Two runs to one place: the one that ends later must not remove what the other wrote.
    let other = dir.path().join("other");
    let (first, second) = (Rewrite::begin(&source, &other).unwrap(), Rewrite::begin(&source, &other).unwrap());
    first.publish().unwrap();
    assert!(matches!(second.publish(), Err(Error::Io { .. })));
    assert!(Checkpoint::open(&other).is_ok());
    assert_eq!(listing(dir.path()), ["in", "other", "out"]);
}

/// A child whose files may not grow beyond some kilobytes stands for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    const PLACE: &str = "LOPPER_TEST_FULL_DISK";
    if let Some(root) = std::env::var_os(PLACE) {
        let root = Path::new(&root);
        let source = Checkpoint::open(&root.join("in")).unwrap();
        let error = Rewrite::begin(&source, &root.join("out")).unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.is_machine(), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        return;
    }
    let dir = directory();
    write_single(&dir.path().join("in"), &safetensors(&[stored("a", "F32", &[1 << 16])]));
    let limited =
        "ulimit -f 64; trap '' XFSZ; exec \"$0\" --exact checkpoint::a_full_disk_is_an_error_and_leaves_nothing";
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(limited).arg(std::env::current_exe().unwrap());
    let output = command.env(PLACE, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(listing(dir.path()), ["in"]);
}

#[cfg(unix)]
#[test]
fn a_directory_of_links_is_read_and_copied_as_files() {
    let dir = directory();
    let real = write_single(&dir.path().join("blobs"), &safetensors(&model("BF16")));
    let links = dir.path().join("snapshot");
    fs::create_dir(&links).unwrap();
    for name in listing(&real) {
        std::os::unix::fs::symlink(Path::new("../blobs").join(&name), links.join(&name)).unwrap();
    }
    let source = Checkpoint::open(&links).unwrap();
    let out = dir.path().join("out");
    Rewrite::begin(&source, &out).unwrap().publish().unwrap();
    for name in listing(&real) {
        assert!(fs::symlink_metadata(out.join(&name)).unwrap().is_file());
        assert_eq!(fs::read(out.join(&name)).unwrap(), fs::read(real.join(&name)).unwrap());
    }
}

#[test]
fn the_fingerprint_is_that_of_configuration_and_weights() {
    let dir = directory();
    let fingerprint = |dir: &Path| Checkpoint::open(dir).unwrap().fingerprint().unwrap();
    let one = write_single(&dir.path().join("one"), &safetensors(&model("F32")));
    let two = write_single(&dir.path().join("two"), &safetensors(&model("F32")));
    fs::write(two.join("README.md"), "another").unwrap();
    let original = fingerprint(&one);
    assert_eq!((original.len(), &original), (64, &fingerprint(&two)));
    let mut weights = fs::read(two.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(two.join("model.safetensors"), weights).unwrap();
    assert_ne!(original, fingerprint(&two));
    fs::write(one.join("config.json"), "{}").unwrap();
    assert_ne!(original, fingerprint(&one));
}

#[test]
fn a_file_that_became_shorter_is_an_error_when_it_is_read() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(
        dir.path(),
        &safetensors(&[stored("a", "F32", &[1 << 14]), stored("b", "F32", &[3])]),
    ))
    .unwrap();
    let before = source.bytes("a").unwrap();
    source.prefetch(["a", "b", "absent"]);
    assert_eq!(source.bytes("a").unwrap(), before);
    let file = fs::File::options().write(true).open(dir.path().join("model.safetensors")).unwrap();
    file.set_len(1 << 15).unwrap();
    source.prefetch(["a", "b"]);
    for error in [
        source.tensor_f32("a").map(drop).unwrap_err(),
        source.bytes("b").map(drop).unwrap_err(),
        source.gather_rows_f32("a", &[0, 1 << 13]).map(drop).unwrap_err(),
        source.check_finite("a").unwrap_err(),
        source.fingerprint().map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("model.safetensors"), "{error}");
    }
}

#[test]
fn verification_finds_what_changed() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    let compare = |tensors: &[Stored]| {
        let other = Checkpoint::open(&write_single(&dir.path().join("other"), &safetensors(tensors))).unwrap();
        verify_untouched(&source, &other, &BTreeSet::new()).map_err(|error| error.to_string())
    };
    assert!(compare(&model("F32")).is_ok());
    let mut flipped = model("F32");
    flipped[4].3[0] ^= 1;
    assert!(compare(&flipped).unwrap_err().contains("`norm.weight` was not to be touched"));
    assert!(compare(&model("F16")).unwrap_err().contains("`embed.weight` was F32 [7, 5] and is F16 [7, 5]"));
    assert!(compare(&model("F32")[1..]).unwrap_err().contains("no tensor `embed.weight`"));
    let mut more = model("F32");
    more.push(stored("more", "F32", &[1]));
    assert!(compare(&more).unwrap_err().contains("`more` is not in the input"));
}

#[test]
fn weights_that_are_not_finite_are_found() {
    let dir = directory();
    // Beyond the first chunk of work, so that the position must be put together.
    let shape = [300, 300];
    for (dtype, bad) in [("F32", [0, 0, 0x80, 0xff].as_slice()), ("F16", &[1, 0x7c]), ("BF16", &[0x80, 0x7f])] {
        let mut tensor = stored("w", dtype, &shape);
        write_single(dir.path(), &safetensors(std::slice::from_ref(&tensor)));
        Checkpoint::open(dir.path()).unwrap().check_finite("w").unwrap();
        let position = 299 * 300 + 7;
        tensor.3[position * bad.len()..][..bad.len()].copy_from_slice(bad);
        write_single(dir.path(), &safetensors(&[tensor]));
        let error = Checkpoint::open(dir.path()).unwrap().check_finite("w").unwrap_err();
        assert!(error.to_string().ends_with("tensor `w` holds a NaN or an infinity at [299, 7]"), "{error}");
    }
}

#[test]
fn a_smaller_copy_has_what_stays_to_the_byte() {
    let dir = directory();
    for dtype in DTYPES {
        let (one, two) = (model(dtype), vec![stored("down", dtype, &[4, 6]), stored("up", dtype, &[6, 3])]);
        let input = write_sharded(&dir.path().join(format!("{dtype}-in")), &[one.clone(), two.clone()]);
        fs::create_dir(input.join("extra")).unwrap();
        fs::write(input.join("extra/words.txt"), "beside").unwrap();
        let source = Checkpoint::open(&input).unwrap();
        let keep = vec![0, 2, 3, 5];
        let cut = |axis, keep: &[usize]| Cut { axis, keep: keep.to_vec() };
        let cuts = [
            ("down", cut(1, &keep)),
            ("up", cut(0, &keep)),
            ("layer.weight", cut(1, &[1])),
            ("norm.weight", cut(0, &[4])),
        ];
        let cuts: BTreeMap<String, Cut> = cuts.map(|(name, cut)| (name.to_owned(), cut)).into();
        let out = dir.path().join(format!("{dtype}-out"));
        let config = serde_json::json!({"model_type": "llama", "intermediate_size": 4});
        let changes = Changes { cuts: cuts.clone(), name: &|name| Some(name.into()), config: &config };
        let composition = Composition::write(&source, (&out, None), &changes).unwrap();
        composition.add_file("report.json", b"{}").unwrap();
        assert!(!out.exists());
        composition.publish().unwrap();
        let copy = Checkpoint::open(&out).unwrap();
        assert_eq!(copy.config_json().unwrap(), config);
        assert_eq!(fs::read_to_string(out.join("extra/words.txt")).unwrap(), "beside");
        assert_eq!(copy.names().collect::<Vec<_>>(), source.names().collect::<Vec<_>>());
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], copy.total_bytes());
        for (name, _, shape, bytes) in one.iter().chain(&two) {
            let info = copy.info(name).unwrap();
            let file = fs::read(out.join(&copy.shards()[info.shard].file)).unwrap();
            let size = bytes.len() / shape.iter().product::<usize>().max(1);
            // the place in the whole of each element that stays, counted naively
            let cut = cuts.get(*name);
            let stays = |index: &usize| {
                let inner: usize = cut.map_or(1, |cut| shape[cut.axis + 1..].iter().product());
                cut.is_none_or(|cut| cut.keep.contains(&(index / inner % shape[cut.axis])))
            };
            let expected: Vec<u8> = (0..shape.iter().product())
                .filter(stays)
                .flat_map(|index: usize| bytes[index * size..][..size].to_vec())
                .collect();
            assert_eq!(file[info.bytes.clone()], expected, "{name}");
        }
    }
}

#[test]
fn of_a_smaller_copy_tensors_go_and_others_get_their_names() {
    let dir = directory();
    let two = vec![stored("layers.1.up", "F16", &[6, 3]), stored("layers.2.up", "F16", &[2, 3])];
    let three = vec![stored("layers.1.down", "F16", &[3, 6])];
    let input = write_sharded(&dir.path().join("in"), &[model("F16"), two, three]);
    let source = Checkpoint::open(&input).unwrap();
    let name = |name: &str| match name.strip_prefix("layers.") {
        Some(rest) if rest.starts_with('1') => None,
        Some(_) => Some("layers.1.up".to_owned()),
        None => Some(name.to_owned()),
    };
    let (out, config) = (dir.path().join("out"), serde_json::json!({}));
    let changes = Changes { cuts: BTreeMap::new(), name: &name, config: &config };
    Composition::write(&source, (&out, None), &changes).unwrap().publish().unwrap();
    let copy = Checkpoint::open(&out).unwrap();
    assert_eq!(copy.shards().len(), 2, "a file of which nothing stays is left out");
    let expected: Vec<&str> =
        source.names().filter(|name| !name.starts_with("layers.")).chain(["layers.1.up"]).collect();
    let mut names: Vec<&str> = copy.names().collect();
    names.sort_by_key(|name| expected.iter().position(|one| one == name));
    assert_eq!(names, expected);
    assert_eq!(copy.tensor_f32("layers.1.up").unwrap().host(), source.tensor_f32("layers.2.up").unwrap().host());
    assert_eq!(copy.tensor_f32("norm.weight").unwrap().host(), source.tensor_f32("norm.weight").unwrap().host());
}

#[test]
fn a_cut_that_does_not_fit_leaves_nothing() {
    let dir = directory();
    let source = Checkpoint::open(&write_single(&dir.path().join("in"), &safetensors(&model("F32")))).unwrap();
    for (axis, keep) in [(2, vec![0]), (0, vec![7]), (0, vec![])] {
        let cuts = BTreeMap::from([("embed.weight".to_owned(), Cut { axis, keep })]);
        let changes = Changes { cuts, name: &|name| Some(name.into()), config: &serde_json::json!({}) };
        let error = Composition::write(&source, (&dir.path().join("out"), None), &changes);
        assert!(error.unwrap_err().to_string().contains("embed.weight"));
        assert_eq!(listing(dir.path()), ["in"]);
    }
}
