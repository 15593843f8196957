//! What a Hugging Face directory holds: one file of weights, shards with their index, or weights of another format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, Result, json};

/// The file of a checkpoint that is not cut into shards.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// What to do about weights of another form.
pub(crate) const CONVERT: &str =
    "load it with transformers, call save_pretrained(dir, safe_serialization=True), and give that directory";
/// The file that says what an adapter is for.
const ADAPTER: &str = "adapter_config.json";

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
    fault(&problem, &hint)
}

/// What a directory without usable weights holds instead, and what to do about it.
fn without_weights(dir: &Path) -> Result<(String, String)> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        names.push(entry.map_err(Error::io("list", dir))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if names.iter().any(|name| name == ADAPTER) {
        return Ok(adapter(dir));
    }
    if let Some(snapshot) = snapshot(dir) {
        let problem = "this is the folder of a model in the Hub's cache, not a checkpoint of it";
        return Ok((problem.into(), format!("give a snapshot, as {}", snapshot.display())));
    }
    if let Some((what, hint)) = other_form(&names.iter()) {
        return Ok((format!("there is no {SINGLE}, only {what}"), hint.into()));
    }
    let shards: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    let hint = match shards.as_slice() {
        [] => "give the directory that a model was saved to, with config.json and weights".into(),
        [one] => format!("if {one} is the whole model, name it {SINGLE}"),
        _ => format!("fetch {INDEX}, which says what is in each of the {} files", shards.len()),
    };
    Ok(match shards.first() {
        Some(first) => {
            (format!("there is neither {SINGLE} nor {INDEX}, only safetensors of other names ({first})"), hint)
        }
        None => (format!("there is neither {SINGLE} nor {INDEX}"), hint),
    })
}

/// What files without [`SINGLE`] and [`INDEX`] are, if one of them tells, and what to do about it.
pub(crate) fn other_form<'a>(names: &(impl Iterator<Item = &'a String> + Clone)) -> Option<(String, &'static str)> {
    let known = [
        (
            ADAPTER,
            "an adapter for a model",
            "merge it into its model first: merge_and_unload() of peft, then save_pretrained",
        ),
        (
            ".gguf",
            "a GGUF file, which is quantised for inference",
            "prune the checkpoint it was made from, then convert the result to GGUF",
        ),
        ("model_index.json", "the index of a pipeline of diffusers", "give the folder of its language model"),
        (
            "consolidated.safetensors",
            "weights in the form of Mistral's own tools",
            "fetch the files for transformers: config.json, and model.safetensors or its shards",
        ),
        (".distcp", "shards of a distributed checkpoint", "gather them into one, and save it with save_pretrained"),
        (".bin", "PyTorch weights", CONVERT),
        (".bin.index.json", "PyTorch weights", CONVERT),
        (".pth", "PyTorch weights", CONVERT),
        (".h5", "TensorFlow weights", CONVERT),
        (".msgpack", "Flax weights", CONVERT),
    ];
    known.into_iter().find_map(|(end, what, hint)| {
        let name = names.clone().find(|name| name.to_ascii_lowercase().ends_with(end))?;
        Some((format!("{what} ({name})"), hint))
    })
}

/// An adapter, and how to merge it into the model it is for.
fn adapter(dir: &Path) -> (String, String) {
    let settings = json::of_file(&dir.join(ADAPTER)).unwrap_or_default();
    let text = |key: &str| settings[key].as_str().map(String::from);
    let kind = text("peft_type").map_or_else(String::new, |kind| format!(" ({kind})"));
    let base = text("base_model_name_or_path").unwrap_or_else(|| "its model".into());
    let problem = format!("this is an adapter{kind} for {base}, not a model");
    let merge = format!(
        "merge it first: AutoPeftModelForCausalLM.from_pretrained({:?}).merge_and_unload().save_pretrained(DIRECTORY)",
        dir.display().to_string()
    );
    (problem, merge)
}

/// A snapshot in the folder that the Hub's cache has for a model.
fn snapshot(dir: &Path) -> Option<PathBuf> {
    let snapshots = std::fs::read_dir(dir.join("snapshots")).ok()?;
    snapshots.flatten().map(|entry| entry.path()).filter(|path| path.join("config.json").is_file()).max()
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
    let index: Index = serde_json::from_slice(json::without_mark(&bytes))
        .map_err(|error| fault(format!("not a safetensors index: {error}")))?;
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
