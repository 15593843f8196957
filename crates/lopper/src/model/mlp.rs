//! Second half of a block: `x + down(silu(gate) · up)` of the normed x.

use candle_core::Result;

use super::linear::{Linear, LinearRole, Norm, Tap};
use crate::autograd::{Tape, Value};

/// Norm, gated feed-forward layer, residual.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Before the projections.
    pub norm: Norm,
    /// [intermediate, hidden]
    pub gate: Linear,
    /// [intermediate, hidden]
    pub up: Linear,
    /// [hidden, intermediate]
    pub down: Linear,
}

impl Mlp {
    /// x [tokens, hidden] → [tokens, hidden].
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn forward(&self, tape: &mut Tape, x: &Value, tap: &mut dyn Tap) -> Result<Value> {
        let normed = self.norm.forward(tape, x)?;
        tap.linear_input(&[LinearRole::Gate, LinearRole::Up], normed.tensor())?;
        let gate = self.gate.forward_normed(tape, &normed)?;
        let up = self.up.forward_normed(tape, &normed)?;
        let activated = tape.gated_silu(&gate, &up)?;
        tap.linear_input(&[LinearRole::Down], activated.tensor())?;
        self.down.forward(tape, &activated, Some(x))
    }
}
