//! What config.json says of single blocks.

use serde_json::Value;

use super::config::Config;
use crate::error::Result;

impl Config<'_> {
    /// Of every block, whether a list names its number.
    pub fn blocks_named(&self, key: &str) -> Result<Option<Vec<bool>>> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        let (numbers, blocks) = (self.numbers(key)?, self.blocks()?);
        Ok(Some((0..blocks).map(|block| numbers.contains(&(block as f64))).collect()))
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
