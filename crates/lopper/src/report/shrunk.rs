//! A model before and after neurons, heads or blocks are taken out of it.

use serde::Serialize;

use crate::model::Serving;

/// A model before and after neurons, heads or blocks were taken out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shrunk {
    /// Neurons of a feed-forward layer, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<[usize; 2]>,
    /// Heads of keys and values of an attention, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<[usize; 2]>,
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
