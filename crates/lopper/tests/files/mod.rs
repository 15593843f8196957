//! Small checkpoints for the tests of files: written byte by byte, so that they can be wrong on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A tensor as it is in a file: name, dtype, shape, bytes.
pub type Stored = (&'static str, &'static str, Vec<usize>, Vec<u8>);

/// A safetensors file: length field, header, bytes.
pub fn file_with_header(header: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(bytes);
    file
}

/// A well-formed file of these tensors in this order.
pub fn safetensors(tensors: &[Stored]) -> Vec<u8> {
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_owned()];
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{}]}}"#,
            data.len()
        ));
    }
    file_with_header(&format!("{{{}}}", entries.join(",")), &data)
}

/// Finite values whose bytes differ from element to element, in a storage dtype.
pub fn stored(name: &'static str, dtype: &'static str, shape: &[usize]) -> Stored {
    let count: usize = shape.iter().product();
    let value = |index: usize| (index as f32 * 0.37 + name.len() as f32).sin();
    let bytes = (0..count).flat_map(|index| match dtype {
        "F32" => value(index).to_le_bytes().to_vec(),
        "F16" => half::f16::from_f32(value(index)).to_le_bytes().to_vec(),
        "BF16" => half::bf16::from_f32(value(index)).to_le_bytes().to_vec(),
        "I64" => (index as u64).to_le_bytes().to_vec(),
        other => panic!("no values for {other}"),
    });
    (name, dtype, shape.to_vec(), bytes.collect())
}

/// A directory that is removed with the value.
pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes `config.json` and `model.safetensors`.
pub fn write_single(dir: &Path, weights: &[u8]) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    fs::write(dir.join("model.safetensors"), weights).unwrap();
    dir.to_owned()
}

/// Writes `config.json`, one shard per element of `shards`, and the index.
pub fn write_sharded(dir: &Path, shards: &[Vec<Stored>]) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let mut map = Vec::new();
    for (number, tensors) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        map.extend(tensors.iter().map(|(name, ..)| format!(r#""{name}":"{file}""#)));
        fs::write(dir.join(&file), safetensors(tensors)).unwrap();
    }
    write_index(dir, &map.join(","));
    dir.to_owned()
}

/// Writes an index with these entries.
pub fn write_index(dir: &Path, entries: &str) {
    let index = format!(r#"{{"metadata":{{"total_size":0}},"weight_map":{{{entries}}}}}"#);
    fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
}

/// Names in a directory, sorted.
pub fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
