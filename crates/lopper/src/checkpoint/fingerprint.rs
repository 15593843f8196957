//! A name for the contents of a checkpoint: BLAKE3 over `config.json` and all shards.
//!
//! hash(for each of config.json, then the shards by name: length of name, name, size, bytes), lengths as u64 little
//! endian. The place and the owner of the directory do not enter, nor do the tokenizer and the documentation.

use super::open::Checkpoint;
use crate::{Error, Result};

impl Checkpoint {
    /// 64 hexadecimal digits that change when the configuration or any byte of the weights does.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let config = self.dir().join("config.json");
        let bytes = std::fs::read(&config).map_err(Error::io("read", &config))?;
        open_entry(&mut hasher, "config.json", bytes.len());
        hasher.update(&bytes);
        for (shard, info) in self.shards.iter().zip(self.shards()) {
            let size = info.size as usize;
            open_entry(&mut hasher, &info.file, size);
            shard.pieces(0..size, |_, bytes| {
                hasher.update_rayon(bytes);
                Ok(())
            })?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn open_entry(hasher: &mut blake3::Hasher, name: &str, size: usize) {
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(&(size as u64).to_le_bytes());
}
