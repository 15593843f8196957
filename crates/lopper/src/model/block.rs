//! A decoder block: attention, then feed-forward layer.

use candle_core::{Result, Tensor};

use super::attention::Attention;
use super::linear::{Linear, LinearRole, Norm, Part, Tap};
use super::mlp::Mlp;
use super::sequences::Sequences;
use crate::autograd::{RotaryTable, Tape, Value};

/// One block of a decoder, its weights in memory as f32.
#[derive(Clone, Debug)]
pub struct Block {
    /// First half.
    pub attention: Attention,
    /// Second half.
    pub mlp: Mlp,
}

impl Block {
    /// x [tokens, hidden] → [tokens, hidden].
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn forward(
        &self,
        tape: &mut Tape,
        x: &Value,
        sequences: &Sequences,
        rotary: &RotaryTable,
        tap: &mut dyn Tap,
    ) -> Result<Value> {
        let x = self.attention.forward(tape, x, sequences, rotary, tap)?;
        self.mlp.forward(tape, &x, tap)
    }

    /// One half of the block; x [tokens, hidden] → [tokens, hidden].
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn forward_part(
        &self,
        part: Part,
        tape: &mut Tape,
        x: &Value,
        sequences: &Sequences,
        rotary: &RotaryTable,
        tap: &mut dyn Tap,
    ) -> Result<Value> {
        match part {
            Part::Attention => self.attention.forward(tape, x, sequences, rotary, tap),
            Part::Mlp => self.mlp.forward(tape, x, tap),
        }
    }

    /// The layer with this role.
    pub fn linear(&self, role: LinearRole) -> &Linear {
        let (attention, mlp) = (&self.attention, &self.mlp);
        match role {
            LinearRole::Query => &attention.query,
            LinearRole::Key => &attention.key,
            LinearRole::Value => &attention.value,
            LinearRole::Output => &attention.output,
            LinearRole::Gate => &mlp.gate,
            LinearRole::Up => &mlp.up,
            LinearRole::Down => &mlp.down,
        }
    }

    /// The layer with this role, to change it.
    pub fn linear_mut(&mut self, role: LinearRole) -> &mut Linear {
        let (attention, mlp) = (&mut self.attention, &mut self.mlp);
        match role {
            LinearRole::Query => &mut attention.query,
            LinearRole::Key => &mut attention.key,
            LinearRole::Value => &mut attention.value,
            LinearRole::Output => &mut attention.output,
            LinearRole::Gate => &mut mlp.gate,
            LinearRole::Up => &mut mlp.up,
            LinearRole::Down => &mut mlp.down,
        }
    }

    /// The norm of one half.
    pub fn norm(&self, part: Part) -> &Norm {
        match part {
            Part::Attention => &self.attention.norm,
            Part::Mlp => &self.mlp.norm,
        }
    }

    /// The norm's weight of one half, to change it.
    pub fn norm_mut(&mut self, part: Part) -> &mut Tensor {
        match part {
            Part::Attention => &mut self.attention.norm.weight,
            Part::Mlp => &mut self.mlp.norm.weight,
        }
    }
}
