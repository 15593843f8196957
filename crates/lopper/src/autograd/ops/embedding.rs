//! Rows of a table by token id.

use candle_core::{Result, Tensor};
use lopper_kernels::add_assign;

use crate::autograd::storage::read;
use crate::autograd::tape::{Tape, Value};

impl Tape {
    /// table [vocabulary, d], ids of any length → [tokens, d].
    ///
    /// # Errors
    /// If an id is outside the table.
    pub fn embedding(&mut self, table: &Value, ids: &[u32]) -> Result<Value> {
        let index = Tensor::new(ids, table.tensor().device())?;
        if !self.is_fused(table) {
            return self.candle([table], |[table]| table.index_select(&index, 0));
        }
        let y = table.tensor().index_select(&index, 0)?;
        let (owned, ids) = (table.clone(), ids.to_vec());
        let width = table.tensor().dim(1)?;
        Ok(self.push(y, &[table], move |dy, sink| {
            read([&dy], |[dy]| {
                sink.with(&owned, |sum, accumulate| {
                    if !accumulate {
                        sum.fill(0.0);
                    }
                    for (row, &id) in dy.chunks_exact(width).zip(&ids) {
                        add_assign(&mut sum[id as usize * width..][..width], row);
                    }
                })
            })?
        }))
    }
}
