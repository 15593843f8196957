//! Bytes ↔ tensors: Hugging Face directories of safetensors shards, read by pieces and written anew.
//!
//! This stage knows names, shapes and dtypes, and no model architecture. [`Checkpoint`] reads, [`Rewrite`] writes
//! a copy with some tensors replaced and every other byte as it was.

mod cards;
mod companions;
mod compose;
mod dtype;
mod fingerprint;
mod header;
pub(crate) mod layout;
mod open;
mod read;
mod rewrite;
mod shard;
mod staging;
mod unfinished;
mod verify;

pub use cards::{BASE_CARD, CARD, card_names};
pub use companions::left_out;
pub use compose::{Changes, Composition, Cut};
pub use dtype::StorageDtype;
pub use header::{Header, HeaderTensor};
pub use open::{Checkpoint, TensorInfo, part_of, whole_of};
pub use rewrite::Rewrite;
pub use safetensors::Dtype;
pub(crate) use shard::PIECE;
pub use shard::ShardInfo;
pub use staging::{check_output, replace};
pub use unfinished::{LOCK, Unfinished};
pub use verify::verify_untouched;
