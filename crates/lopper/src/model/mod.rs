//! One decoder for every family: described by data, loaded block by block.

mod attention;
mod block;
mod decoder;
mod families;
mod head;
mod linear;
mod mlp;
mod rotary;
mod sequences;
mod spec;

pub use attention::Attention;
pub use block::Block;
pub use decoder::Decoder;
pub use families::{FAMILIES, Family, describe};
pub(crate) use head::{HEAD_ROWS, HEAD_TOKENS, Running, pieces};
pub use head::{Head, NextToken};
pub use linear::{Linear, LinearId, LinearRole, NoTap, Norm, Part, Tap};
pub use mlp::Mlp;
pub use rotary::{RotaryScaling, RotarySpec};
pub use sequences::{Sequences, common_prefix};
pub use spec::{AttentionSpec, DecoderSpec, MlpSpec};
