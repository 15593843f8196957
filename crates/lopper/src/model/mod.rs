//! One decoder for every family: described by data, loaded block by block, run by one interpreter.

mod block;
mod block_spec;
mod branch_builder;
mod builder;
mod cost;
mod decoder;
mod edit;
mod families;
mod form;
mod head;
mod naming;
mod pass;
mod program;
mod rotary;
mod sequences;
mod serving;
mod spec;
mod units;

pub use block::Block;
pub use block_spec::{BlockSpec, Branch, BranchId, Kind, LinearId, LinearSpec, Stage, StageId, TensorSpec};
pub use decoder::Decoder;
pub use edit::{narrowed, shortened};
pub use families::{FAMILIES, Family, describe};
pub use form::Form;
pub(crate) use head::{HEAD_ROWS, HEAD_TOKENS, Running, pieces};
pub use head::{Head, HeadWeights, NextToken};
pub use pass::{Context, NoTap, Tap};
pub use program::{Instruction, NormKind, Operation, Program};
pub use rotary::{RotaryScaling, RotarySpec};
pub use sequences::{Sequences, common_prefix};
pub use serving::Serving;
pub use spec::{DecoderSpec, HeadSpec, LearnedPositions, Stem, UNBOUNDED};
pub use units::{UnitKind, Units};
