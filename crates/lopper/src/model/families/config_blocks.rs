//! What config.json says of single blocks.

use serde_json::{Map, Value};

use super::config::Config;
use crate::error::Result;

/// Keys of single blocks that differ from those of all, by the number of the block.
pub const BY_BLOCK: &str = "per_layer_config";

impl Config<'_> {
    /// What single blocks have otherwise, where that is said: of each block its keys, of which only `known` ones can differ.
    pub fn by_block(&self, known: &[&str]) -> Result<Option<Vec<Map<String, Value>>>> {
        let Some(said) = self.get(BY_BLOCK) else { return Ok(None) };
        let said = said.as_object().ok_or_else(|| self.no(BY_BLOCK, said, "an object"))?;
        let mut all = vec![Map::new(); self.blocks()?];
        for (number, own) in said {
            let block = number.parse().ok().and_then(|number: usize| all.get_mut(number));
            let block = block.ok_or_else(|| self.wrong(format!("{BY_BLOCK:?} names the block {number:?}")))?;
            let own = own.as_object().ok_or_else(|| self.no(BY_BLOCK, own, "an object for each block"))?;
            if let Some(other) = own.keys().find(|key| !known.contains(&key.as_str())) {
                let problem = format!("{BY_BLOCK:?} changes {other:?} of block {number}; known are {known:?}");
                return Err(self.wrong(problem));
            }
            block.clone_from(own);
        }
        Ok(Some(all))
    }

    /// Of every block, whether a list names its number.
    pub fn blocks_named(&self, key: &str) -> Result<Option<Vec<bool>>> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        let (numbers, blocks) = (self.numbers(key)?, self.blocks()?);
        Ok(Some((0..blocks).map(|block| numbers.contains(&(block as f64))).collect()))
    }

    /// A size that is the same in every block, though a list may say it of each.
    pub fn same_of_all(&self, key: &str, default: usize) -> Result<usize> {
        let Some(list) = self.get(key).and_then(Value::as_array) else { return self.size_or(key, default) };
        let first = list.first().and_then(Value::as_u64).filter(|_| list.iter().all(|size| *size == list[0]));
        let first = first.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        first.ok_or_else(|| self.wrong(format!("{key:?} differs between blocks, or is no list of sizes above 0")))
    }

    /// Of every block, whether something else stands in the place of attention, by `layer_types` where there is one.
    pub fn recurs(&self) -> Result<Option<Vec<bool>>> {
        let Some(kinds) = self.get("layer_types") else { return Ok(None) };
        let of = |block| match kinds.get(block).and_then(Value::as_str) {
            Some("linear_attention" | "mamba" | "conv") => Ok(true),
            Some("full_attention" | "attention") => Ok(false),
            _ => Err(self.wrong(format!(
                "\"layer_types\" says of block {block} neither \"full_attention\" nor \"linear_attention\" or \"conv\""
            ))),
        };
        (0..self.blocks()?).map(of).collect::<Result<_>>().map(Some)
    }

    /// Whether the attention of a block slides, by `layer_types` where there is one.
    pub fn slides(&self, block: usize) -> Result<Option<bool>> {
        let Some(kinds) = self.get("layer_types") else { return Ok(None) };
        match kinds.get(block).and_then(Value::as_str) {
            Some("sliding_attention") => Ok(Some(true)),
            Some("full_attention") => Ok(Some(false)),
            Some(other) => Err(self.wrong(format!(
                "\"layer_types\" says {other:?} of block {block}; supported here: \"full_attention\", \"sliding_attention\""
            ))),
            None => Err(self.wrong(format!("\"layer_types\" does not name the kind of block {block}"))),
        }
    }

    /// Entry `block` of a list of 0 and 1, where there is one.
    pub fn flag_of_block(&self, key: &str, block: usize) -> Result<Option<bool>> {
        let Some(list) = self.get(key) else { return Ok(None) };
        let flag = list.get(block).and_then(|flag| flag.as_bool().or(flag.as_u64().map(|flag| flag != 0)));
        flag.map(Some).ok_or_else(|| self.wrong(format!("{key:?} says nothing of block {block}")))
    }
}
