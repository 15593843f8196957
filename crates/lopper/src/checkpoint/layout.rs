//! What a Hugging Face directory holds: one file of weights, shards with their index, or weights of another format.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// The file of a checkpoint that is not cut into shards.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Endings of files that hold weights, which a copy with other weights must not carry along.
const WEIGHT_ENDINGS: [&str; 12] = [
    ".safetensors",
    ".bin",
    ".gguf",
    ".ggml",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".tflite",
    ".index.json",
];

/// Whether a file of this name holds weights, or says which file does.
pub(crate) fn is_weights(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    WEIGHT_ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// Which of the two layouts `dir` has. As in transformers, a single file goes before an index.
pub(crate) fn is_sharded(dir: &Path) -> Result<bool> {
    let fault = |problem: &str, hint: &str| {
        Err(Error::Checkpoint { path: dir.to_owned(), problem: problem.into(), hint: Some(hint.into()) })
    };
    if dir.is_file() {
        return fault("this is a file", "give the directory that holds config.json and the weights");
    }
    if !dir.is_dir() {
        return fault("there is no such directory", "give a directory, or a model on the Hub as owner/name");
    }
    if dir.join(SINGLE).is_file() {
        return Ok(false);
    }
    if dir.join(INDEX).is_file() {
        return Ok(true);
    }
    let (problem, hint) = without_weights(dir)?;
    fault(&problem, hint)
}

/// What a directory without usable weights holds instead, and what to do about it.
fn without_weights(dir: &Path) -> Result<(String, &'static str)> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        names.push(entry.map_err(Error::io("list", dir))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let ending = |ending: &str| names.iter().find(|name| name.to_ascii_lowercase().ends_with(ending));
    let convert = "load it with transformers and call save_pretrained(dir, safe_serialization=True)";
    let known = [
        (
            ".gguf",
            "a GGUF file, which is quantised for inference",
            "prune the checkpoint it was made from, then convert the result to GGUF",
        ),
        (".bin", "PyTorch weights", convert),
        (".bin.index.json", "PyTorch weights", convert),
        (".pth", "PyTorch weights", convert),
        (".h5", "TensorFlow weights", convert),
        (".msgpack", "Flax weights", convert),
        (
            ".safetensors",
            "safetensors under another name",
            "name the file model.safetensors, or add model.safetensors.index.json",
        ),
    ];
    for (end, what, hint) in known {
        if let Some(name) = ending(end) {
            return Ok((format!("there is no {SINGLE}, only {what} ({name})"), hint));
        }
    }
    Ok((
        format!("there is neither {SINGLE} nor {INDEX}"),
        "give the directory that a model was saved to, with config.json and weights",
    ))
}

/// The index: tensor name → file name, with file names that stay inside the directory.
pub(crate) fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let fault =
        |problem| Error::Checkpoint { path: path.to_owned(), problem, hint: Some("fetch the file again".into()) };
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| fault(format!("not a safetensors index: {error}")))?;
    if index.weight_map.is_empty() {
        return Err(fault("the index names no tensor".into()));
    }
    for (name, file) in &index.weight_map {
        // `\` divides paths on some systems: a name that has one is a file of this directory on none
        let inside = Path::new(file).file_name().is_some_and(|last| last == file.as_str()) && !file.contains('\\');
        if !inside {
            return Err(fault(format!(
                "tensor `{name}` is said to be in `{file}`, which is not a file of this directory"
            )));
        }
    }
    Ok(index.weight_map)
}

pub(crate) fn check_present(dir: &Path, file: &str) -> Result<()> {
    if dir.join(file).is_file() {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: dir.to_owned(),
        problem: format!("shard {file}, named by {INDEX}, is missing"),
        hint: Some("the download is incomplete; fetch the missing file".into()),
    })
}
