//! Activations of feed-forward layers, `f(x)`, and their gated forms, `f(gate) · up` (Shazeer 2020, arXiv 2002.05202).

use lopper_kernels::{
    Activation, ClampedGate, activate, activate_backward, clamped_gate, clamped_gate_backward, gated, gated_backward,
    zeros,
};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Activate(Activation);

impl Op<1> for Activate {
    type Saved = Tensor;

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let y = Tensor::filled(x.shape(), |y| activate(self.0, x.host(), y));
        Ok((y, x.clone()))
    }

    fn backward(self, x: Tensor, dy: Tensor, inputs: &mut Inputs) {
        let dx = Tensor::filled(x.shape(), |dx| activate_backward(self.0, x.host(), dy.host(), dx));
        inputs.give(0, dx);
    }
}

struct Gated(Activation);

impl Op<2> for Gated {
    type Saved = [Tensor; 2];

    fn forward(&self, [gate, up]: [&Tensor; 2]) -> Result<(Tensor, [Tensor; 2])> {
        if gate.shape() != up.shape() {
            return Err(misfit(format!("a gate {:?} of {:?}", gate.shape(), up.shape())));
        }
        let y = Tensor::filled(gate.shape(), |y| gated(self.0, gate.host(), up.host(), y));
        Ok((y, [gate, up].map(Tensor::clone)))
    }

    fn backward(self, [gate, up]: [Tensor; 2], dy: Tensor, inputs: &mut Inputs) {
        let mut d_up = zeros(up.len());
        let d_gate = Tensor::filled(gate.shape(), |d_gate| {
            gated_backward(self.0, gate.host(), up.host(), dy.host(), d_gate, &mut d_up);
        });
        inputs.give(0, d_gate);
        inputs.give(1, Tensor::new(up.shape(), d_up));
    }
}

struct Clamped(ClampedGate);

impl Op<1> for Clamped {
    type Saved = Tensor;

    fn forward(&self, [pairs]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let [tokens, width] = pairs.matrix()?;
        if !width.is_multiple_of(2) {
            return Err(misfit(format!("{:?} are no pairs", pairs.shape())));
        }
        let y = Tensor::filled([tokens, width / 2], |y| clamped_gate(self.0, pairs.host(), y));
        Ok((y, pairs.clone()))
    }

    fn backward(self, pairs: Tensor, dy: Tensor, inputs: &mut Inputs) {
        let backward = |d_pairs: &mut [f32]| clamped_gate_backward(self.0, pairs.host(), dy.host(), d_pairs);
        inputs.give(0, Tensor::filled(pairs.shape(), backward));
    }
}

impl Tape {
    /// `f(x)` of every entry.
    ///
    /// # Errors
    /// None so far.
    pub fn activate(&mut self, kind: Activation, x: &Value) -> Result<Value> {
        self.apply(Activate(kind), [x])
    }

    /// `f(gate) · up`; gate and up, both [tokens, d] → [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn gated(&mut self, kind: Activation, gate: &Value, up: &Value) -> Result<Value> {
        self.apply(Gated(kind), [gate, up])
    }

    /// The clamped gate of pairs, gates and what they gate by turns [tokens, 2·d] → [tokens, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn clamped_gate(&mut self, gate: ClampedGate, pairs: &Value) -> Result<Value> {
        self.apply(Clamped(gate), [pairs])
    }
}
