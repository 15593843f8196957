//! `silu(gate) · up`, the activation of gated feed-forward layers (Shazeer 2020, arXiv 2002.05202, SwiGLU).

use candle_core::Result;
use lopper_kernels::{gated_silu, gated_silu_backward, zeros};

use crate::autograd::storage::{fill, read};
use crate::autograd::tape::{Tape, Value};

impl Tape {
    /// gate and up, both [tokens, d] → [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn gated_silu(&mut self, gate: &Value, up: &Value) -> Result<Value> {
        if !self.is_fused(gate) {
            return self.candle([gate, up], |[g, u]| g.silu()? * u);
        }
        let y = read([gate.tensor(), up.tensor()], |[g, u]| fill(gate.tensor().shape(), |y| gated_silu(g, u, y)))??;
        let owned = [gate, up].map(Value::clone);
        Ok(self.push(y, &[gate, up], move |dy, sink| {
            let [gate, up] = &owned;
            let mut d_up = zeros(up.tensor().elem_count());
            let d_gate = read([&dy, gate.tensor(), up.tensor()], |[dy, g, u]| {
                fill(gate.tensor().shape(), |d_gate| gated_silu_backward(g, u, dy, d_gate, &mut d_up))
            })??;
            sink.give(gate, d_gate)?;
            sink.give(up, candle_core::Tensor::from_vec(d_up, up.tensor().shape(), up.tensor().device())?)
        }))
    }
}
