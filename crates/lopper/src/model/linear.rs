//! Linear layers and norms of a block, their names, and how statistics see a forward pass.

use candle_core::{Result, Tensor};

use crate::autograd::{Normed, Tape, Value};

/// What a linear layer does in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinearRole {
    /// Queries of the attention.
    Query,
    /// Keys of the attention.
    Key,
    /// Values of the attention.
    Value,
    /// Output projection of the attention.
    Output,
    /// Gate of the feed-forward layer.
    Gate,
    /// What the gate multiplies.
    Up,
    /// Output projection of the feed-forward layer.
    Down,
}

/// Half of a block: what a submodule window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Norm, attention, residual.
    Attention,
    /// Norm, feed-forward layer, residual.
    Mlp,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
        })
    }
}

impl LinearRole {
    /// In the order of the forward pass.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The half of the block it belongs to.
    pub fn part(self) -> Part {
        match self {
            Self::Query | Self::Key | Self::Value | Self::Output => Part::Attention,
            Self::Gate | Self::Up | Self::Down => Part::Mlp,
        }
    }
}

/// A linear layer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LinearId {
    /// Index of the block.
    pub block: usize,
    /// Place in the block.
    pub role: LinearRole,
}

/// `x·Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// [d_out, d_in] f32
    pub weight: Tensor,
    /// `[d_out]` f32
    pub bias: Option<Tensor>,
}

impl Linear {
    /// x [tokens, d_in], residual [tokens, d_out] → [tokens, d_out].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn forward(&self, tape: &mut Tape, x: &Value, residual: Option<&Value>) -> Result<Value> {
        let weight = tape.value(&self.weight);
        let bias = self.bias.as_ref().map(|bias| tape.value(bias));
        tape.linear(x, &weight, bias.as_ref(), residual)
    }

    /// x [tokens, d_in] as a norm gives it → [tokens, d_out].
    pub(super) fn forward_normed(&self, tape: &mut Tape, x: &Normed) -> Result<Value> {
        let weight = tape.value(&self.weight);
        let bias = self.bias.as_ref().map(|bias| tape.value(bias));
        tape.normed_linear(x, &weight, bias.as_ref())
    }
}

/// Root-mean-square norm.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[d]` f32
    pub weight: Tensor,
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Norm {
    /// x [tokens, d] → [tokens, d].
    pub(super) fn forward(&self, tape: &mut Tape, x: &Value) -> Result<Normed> {
        let weight = tape.value(&self.weight);
        tape.norm(x, &weight, self.epsilon)
    }
}

/// Sees the inputs of linear layers during a forward pass.
pub trait Tap {
    /// The layers `roles` of the block at hand are about to read `input` [tokens, d_in].
    ///
    /// # Errors
    /// Ends the forward pass.
    fn linear_input(&mut self, roles: &[LinearRole], input: &Tensor) -> Result<()>;
}

/// Looks at nothing.
pub struct NoTap;

impl Tap for NoTap {
    fn linear_input(&mut self, _: &[LinearRole], _: &Tensor) -> Result<()> {
        Ok(())
    }
}
