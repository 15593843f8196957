//! Causal scaled dot-product attention with grouped queries, `softmax(QKᵀ·scale)V`, over a ragged batch;
//! the fused way never stores the scores (Dao et al. 2022, arXiv 2205.14135, for the recomputation in the backward pass).

use candle_core::{D, Result, Tensor};
use lopper_kernels::{AttentionShape, attention, attention_backward, zeros};

use crate::autograd::storage::{fill, read};
use crate::autograd::tape::{Tape, Value};

/// How heads lie in the rows of queries, keys and values, and what a query may see.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionLayout {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Factor of the scores, usually 1/√head_dim.
    pub scale: f32,
    /// Sliding window: how many keys a query sees, itself included.
    pub window: Option<usize>,
}

impl AttentionLayout {
    fn shape<'a>(&self, offsets: &'a [usize]) -> AttentionShape<'a> {
        let &Self { heads, kv_heads, head_dim, scale, window } = self;
        AttentionShape { offsets, heads, kv_heads, head_dim, scale, window }
    }
}

impl Tape {
    /// q [tokens, heads · head_dim], k and v [tokens, kv_heads · head_dim] → [tokens, heads · head_dim];
    /// sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn attention(&mut self, [q, k, v]: [&Value; 3], layout: &AttentionLayout, offsets: &[usize]) -> Result<Value> {
        if !self.is_fused(q) {
            return self.candle([q, k, v], |[q, k, v]| attention_composed(&q, &k, &v, layout, offsets));
        }
        let mut log_sum_exp = vec![0.0; q.tensor().dim(0)? * layout.heads];
        let y = read([q.tensor(), k.tensor(), v.tensor()], |[a, b, c]| {
            fill(q.tensor().shape(), |y| attention(&layout.shape(offsets), a, b, c, y, &mut log_sum_exp))
        })??;
        let (layout, offsets, out) = (layout.clone(), offsets.to_vec(), y.clone());
        let owned = [q, k, v].map(Value::clone);
        Ok(self.push(y, &[q, k, v], move |dy, sink| {
            let [q, k, v] = &owned;
            let mut gradients = owned.each_ref().map(|x| zeros(x.tensor().elem_count()));
            let [dq, dk, dv] = &mut gradients;
            read([q.tensor(), k.tensor(), v.tensor(), &out, &dy], |[q, k, v, out, dy]| {
                attention_backward(&layout.shape(&offsets), q, k, v, out, &log_sum_exp, dy, dq, dk, dv);
            })?;
            for (value, gradient) in owned.iter().zip(gradients) {
                sink.give(value, Tensor::from_vec(gradient, value.tensor().shape(), value.tensor().device())?)?;
            }
            Ok(())
        }))
    }
}

fn attention_composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    layout: &AttentionLayout,
    offsets: &[usize],
) -> Result<Tensor> {
    let &AttentionLayout { heads, kv_heads, head_dim, scale, window } = layout;
    let group = heads / kv_heads;
    let mut outputs = Vec::with_capacity(offsets.len().saturating_sub(1));
    for span in offsets.windows(2) {
        let (start, length) = (span[0], span[1] - span[0]);
        let split = |x: &Tensor, n: usize| {
            x.narrow(0, start, length)?.reshape((length, n, head_dim))?.transpose(0, 1)?.contiguous()
        };
        // [kv_heads, group · length, head_dim]: the queries that share a key head lie together
        let queries = split(q, heads)?.reshape((kv_heads, group * length, head_dim))?;
        let (keys, values) = (split(k, kv_heads)?, split(v, kv_heads)?);
        let scores = (queries.matmul(&keys.transpose(1, 2)?.contiguous()?)? * f64::from(scale))?;
        let scores = scores.reshape((heads, length, length))?.broadcast_add(&causal_bias(length, window, q)?)?;
        let weights = (scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?).exp()?;
        let weights =
            weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.reshape((kv_heads, group * length, length))?;
        let out = weights.matmul(&values)?.reshape((heads, length, head_dim))?;
        outputs.push(out.transpose(0, 1)?.reshape((length, heads * head_dim))?);
    }
    Tensor::cat(&outputs, 0)
}

/// [length, length]: 0 where a query sees a key, −∞ where not.
fn causal_bias(length: usize, window: Option<usize>, like: &Tensor) -> Result<Tensor> {
    let window = window.unwrap_or(length);
    let bias: Vec<f32> = (0..length)
        .flat_map(|t| (0..length).map(move |s| if s <= t && s + window > t { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(bias, (length, length), like.device())
}
