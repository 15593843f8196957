//! A model before and after neurons, heads, experts or blocks are taken out of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Serving;

/// A model before and after neurons, heads, experts or blocks were taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shrunk {
    /// Neurons of a feed-forward layer, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<[usize; 2]>,
    /// Heads of keys and values of an attention, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<[usize; 2]>,
    /// Experts of a layer, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<[usize; 2]>,
    /// Numbers of those that stayed, by the number of the block.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub experts_kept: BTreeMap<usize, Vec<usize>>,
    /// Blocks, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<[usize; 2]>,
    /// Numbers in its tensors.
    pub parameters: [usize; 2],
    /// Bytes of all tensors in the files.
    pub bytes: [u64; 2],
    /// What a runtime meets.
    pub serving: [Serving; 2],
}
