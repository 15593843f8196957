//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of the first `dim` entries of each head.

use lopper_kernels::{RotaryPairs, rotate};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// Cosine and sine of every position's angles.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// [positions, dim / 2]
    pub cos: Tensor,
    /// [positions, dim / 2]
    pub sin: Tensor,
    /// Which entries turn together.
    pub pairs: RotaryPairs,
}

struct Rotary {
    head_dim: usize,
    offsets: Vec<usize>,
    table: RotaryTable,
}

impl Rotary {
    fn turn(&self, x: &mut Tensor, inverse: bool) {
        let RotaryTable { cos, sin, pairs } = &self.table;
        rotate(x.host_mut(), self.head_dim, &self.offsets, cos.host(), sin.host(), 2 * cos.width(), *pairs, inverse);
    }
}

impl Op<1> for Rotary {
    type Saved = ();

    fn forward(&self, [x]: [&Tensor; 1]) -> Result<(Tensor, ())> {
        let longest = self.offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        let positions = self.table.cos.shape()[0];
        if longest > positions {
            return Err(misfit(format!("a sequence of {longest} tokens exceeds a rotary table of {positions}")));
        }
        let mut y = x.clone();
        self.turn(&mut y, false);
        Ok((y, ()))
    }

    fn backward(self, (): (), mut dy: Tensor, inputs: &mut Inputs) {
        self.turn(&mut dy, true);
        inputs.give(0, dy);
    }
}

impl Tape {
    /// Rotates the heads of x [tokens, heads · head_dim]; sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If a sequence is longer than the table.
    pub fn rotary(&mut self, x: &Value, head_dim: usize, offsets: &[usize], table: &RotaryTable) -> Result<Value> {
        self.apply(Rotary { head_dim, offsets: offsets.to_vec(), table: table.clone() }, [x])
    }
}
