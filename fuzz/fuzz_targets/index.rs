//! Any bytes as the index of a checkpoint with one shard: no panic, and what opens is in that shard.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::checkpoint::Checkpoint;

/// Of a shard with a tensor `a` of no numbers.
const HEADER: &[u8] = br#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#;

fuzz_target!(|index: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).expect("written");
    write("s", &[&HEADER.len().to_le_bytes()[..], HEADER].concat());
    write("model.safetensors.index.json", index);
    if let Ok(checkpoint) = Checkpoint::open(directory.path()) {
        assert!(checkpoint.names().eq(["a"]) && checkpoint.shards()[0].file == "s");
    }
});
