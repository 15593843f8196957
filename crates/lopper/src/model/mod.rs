//! One decoder for every family: described by data, loaded block by block.

mod attention;
mod block;
mod decoder;
mod families;
mod linear;
mod mlp;
mod rotary;
mod spec;

pub use attention::Attention;
pub use block::Block;
pub use decoder::{Decoder, Head};
pub(crate) use decoder::{HEAD_ROWS, HEAD_TOKENS};
pub use families::{FAMILIES, Family, describe};
pub use linear::{Linear, LinearId, LinearRole, NoTap, Norm, Part, Sequences, Tap};
pub use mlp::Mlp;
pub use rotary::{RotaryScaling, RotarySpec};
pub use spec::{AttentionSpec, DecoderSpec, MlpSpec};
