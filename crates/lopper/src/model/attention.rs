//! First half of a block: `x + output(attention(rotary(query, key), value))` of the normed x.

use candle_core::Result;

use super::linear::{Linear, LinearRole, Norm, Tap};
use super::sequences::Sequences;
use crate::autograd::{AttentionLayout, RotaryTable, Tape, Value};

/// Norm, causal attention with grouped queries and rotary positions, residual.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Before the projections.
    pub norm: Norm,
    /// [heads · head_dim, hidden]
    pub query: Linear,
    /// [kv_heads · head_dim, hidden]
    pub key: Linear,
    /// [kv_heads · head_dim, hidden]
    pub value: Linear,
    /// [hidden, heads · head_dim]
    pub output: Linear,
    /// How heads lie in the rows.
    pub layout: AttentionLayout,
}

impl Attention {
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
        let normed = self.norm.forward(tape, x)?;
        tap.linear_input(&[LinearRole::Query, LinearRole::Key, LinearRole::Value], normed.tensor())?;
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|layer| {
            let rows = layer.forward_normed(tape, &normed)?;
            sequences.whole(tape, rows)
        });
        let (query, key, value) = (query?, key?, value?);
        let query = tape.rotary(&query, self.layout.head_dim, sequences.offsets(), rotary)?;
        let key = tape.rotary(&key, self.layout.head_dim, sequences.offsets(), rotary)?;
        let mixed = tape.attention([&query, &key, &value], &self.layout, sequences.offsets())?;
        let mixed = sequences.rows(tape, mixed)?;
        tap.linear_input(&[LinearRole::Output], mixed.tensor())?;
        self.output.forward(tape, &mixed, Some(x))
    }
}
