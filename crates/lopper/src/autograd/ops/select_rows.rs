//! Chosen rows of an activation, in any order and as often as they are named.

use lopper_kernels::add_assign;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct SelectRows(Vec<u32>);

impl Op<1> for SelectRows {
    type Saved = ();

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, ())> {
        let [rows, width] = x.matrix()?;
        if let Some(beyond) = self.0.iter().find(|&&row| row as usize >= rows) {
            return Err(misfit(format!("row {beyond} of {:?}", x.shape())));
        }
        let y = Tensor::filled([self.0.len(), width], |y| {
            for (y, &row) in y.chunks_mut(width).zip(&self.0) {
                y.copy_from_slice(&x.host()[row as usize * width..][..width]);
            }
        });
        Ok((y, ()))
    }

    fn backward(self, (): (), dy: Tensor, inputs: &mut Inputs) {
        let width = dy.width();
        inputs.with(0, |dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (dy, &row) in dy.host().chunks(width).zip(&self.0) {
                add_assign(&mut dx[row as usize * width..][..width], dy);
            }
        });
    }
}

impl Tape {
    /// The rows of x [rows, d] with these indices → [indices, d].
    ///
    /// # Errors
    /// If there is no such row.
    pub fn select_rows(&mut self, x: &Value, indices: &[u32]) -> Result<Value> {
        self.apply(SelectRows(indices.to_vec()), [x])
    }
}
