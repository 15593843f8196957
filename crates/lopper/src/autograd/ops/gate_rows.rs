//! Every row times `σ(g)` of a number of its own: how much an expert that every token goes to counts for each.

use rayon::prelude::*;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct GateRows;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Op<2> for GateRows {
    type Saved = [Tensor; 2];

    fn forward(&self, [x, gates]: [&Tensor; 2]) -> Result<(Tensor, [Tensor; 2])> {
        let [rows, width] = x.matrix()?;
        if gates.shape() != [rows, 1] {
            return Err(misfit(format!("gates {:?} of the rows of {:?}", gates.shape(), x.shape())));
        }
        let mut y = x.clone();
        y.host_mut().par_chunks_mut(width).zip(gates.host()).for_each(|(y, &gate)| {
            let factor = sigmoid(gate);
            for y in y {
                *y *= factor;
            }
        });
        Ok((y, [x, gates].map(Tensor::clone)))
    }

    fn backward(self, [x, gates]: [Tensor; 2], mut dy: Tensor, inputs: &mut Inputs) {
        let width = dy.width();
        inputs.with(1, |d_gates, accumulate| {
            let rows = x.host().par_chunks(width).zip(dy.host().par_chunks(width)).zip(gates.host());
            d_gates.par_iter_mut().zip(rows).for_each(|(d_gate, ((x, dy), &gate))| {
                let along: f32 = x.iter().zip(dy).map(|(x, dy)| x * dy).sum();
                let slope = sigmoid(gate) * sigmoid(-gate);
                *d_gate = if accumulate { *d_gate + along * slope } else { along * slope };
            });
        });
        dy.host_mut().par_chunks_mut(width).zip(gates.host()).for_each(|(dy, &gate)| {
            let factor = sigmoid(gate);
            for dy in dy {
                *dy *= factor;
            }
        });
        inputs.give(0, dy);
    }
}

impl Tape {
    /// x [rows, d], gates [rows, 1] → [rows, d].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn gate_rows(&mut self, x: &Value, gates: &Value) -> Result<Value> {
        self.apply(GateRows, [x, gates])
    }
}
