//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in Hugging Face's layout:
//! pairs are `(i, i + dim/2)` inside the first `dim` entries of each head.

use candle_core::{D, Result, Tensor};
use lopper_kernels::{copied, rotate};

use crate::autograd::storage::read;
use crate::autograd::tape::{Tape, Value};

/// Cosine and sine of every position's angles.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    /// [positions, dim / 2]
    pub cos: Tensor,
    /// [positions, dim / 2]
    pub sin: Tensor,
}

impl RotaryTable {
    /// How many entries of each head are rotated.
    fn dim(&self) -> Result<usize> {
        Ok(2 * self.cos.dim(1)?)
    }
}

impl Tape {
    /// Rotates the heads of x [tokens, heads · head_dim]; sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If a sequence is longer than the table.
    pub fn rotary(&mut self, x: &Value, head_dim: usize, offsets: &[usize], table: &RotaryTable) -> Result<Value> {
        let longest = offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        if longest > table.cos.dim(0)? {
            candle_core::bail!(
                "rotary: a sequence of {longest} tokens exceeds a table of {} positions",
                table.cos.dim(0)?
            );
        }
        if !self.is_fused(x) {
            return self.candle([x], |[x]| rotary_composed(&x, head_dim, offsets, table));
        }
        let dim = table.dim()?;
        let turn = move |x: &Tensor, offsets: &[usize], table: &RotaryTable, inverse| {
            let turned = read([x, &table.cos, &table.sin], |[x, cos, sin]| {
                let mut turned = copied(x);
                rotate(&mut turned, head_dim, offsets, cos, sin, dim, inverse);
                turned
            })?;
            Tensor::from_vec(turned, x.shape(), x.device())
        };
        let y = turn(x.tensor(), offsets, table, false)?;
        let (owned, offsets, table) = (x.clone(), offsets.to_vec(), table.clone());
        Ok(self.push(y, &[x], move |dy, sink| sink.give(&owned, turn(&dy, &offsets, &table, true)?)))
    }
}

fn rotary_composed(x: &Tensor, head_dim: usize, offsets: &[usize], table: &RotaryTable) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    let half = table.cos.dim(1)?;
    let positions: Vec<u32> = offsets.windows(2).flat_map(|w| 0..(w[1] - w[0]) as u32).collect();
    let positions = Tensor::new(positions, x.device())?;
    let angle = |t: &Tensor| t.index_select(&positions, 0)?.unsqueeze(1); // [tokens, 1, half]
    let (cos, sin) = (angle(&table.cos)?, angle(&table.sin)?);
    let x = x.reshape((tokens, width / head_dim, head_dim))?;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let rest = x.narrow(D::Minus1, 2 * half, head_dim - 2 * half)?;
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let parts = if rest.elem_count() == 0 { vec![first, second] } else { vec![first, second, rest] };
    Tensor::cat(&parts, D::Minus1)?.reshape((tokens, width))
}
