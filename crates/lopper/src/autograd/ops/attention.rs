//! Causal scaled dot-product attention with grouped queries, `softmax(QKᵀ·scale)V`, over a ragged batch. The scores are never
//! stored (Dao et al. 2022, arXiv 2205.14135, for the recomputation in the backward pass). Each head may have a sink: a score of the softmax
//! that belongs to no key and takes no value.

use lopper_kernels::{AttentionShape, attention, attention_backward, attention_sinks_backward, zeros};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

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
    /// Bounds scaled scores softly: `cap·tanh(s / cap)`.
    pub soft_cap: Option<f32>,
    /// Linear biases instead of positions (ALiBi): what each head takes off a score for each step back. Empty for none.
    pub slopes: Vec<f32>,
}

impl AttentionLayout {
    /// Every head has its own keys and values and sees all before it; scores are divided by √head_dim.
    pub fn new(heads: usize, head_dim: usize) -> Self {
        let scale = (head_dim as f32).sqrt().recip();
        Self { heads, kv_heads: heads, head_dim, scale, window: None, soft_cap: None, slopes: Vec::new() }
    }

    /// Widths of queries, keys and values.
    pub fn widths(&self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads].map(|heads| heads * self.head_dim)
    }

    fn shape<'a>(&'a self, offsets: &'a [usize], sinks: &'a [f32]) -> AttentionShape<'a> {
        let &Self { heads, kv_heads, head_dim, scale, window, soft_cap, ref slopes } = self;
        AttentionShape { offsets, heads, kv_heads, head_dim, scale, window, soft_cap, slopes, sinks }
    }
}

struct Attention {
    layout: AttentionLayout,
    offsets: Vec<usize>,
}

/// Inputs, sinks among them, output and the logarithm of each row's normaliser.
struct Saved {
    inputs: [Tensor; 4],
    output: Tensor,
    log_sum_exp: Vec<f32>,
}

impl Op<4> for Attention {
    type Saved = Saved;

    fn forward(&self, inputs: [&Tensor; 4]) -> Result<(Tensor, Saved)> {
        let tokens = self.offsets.last().copied().unwrap_or(0);
        let [q, k, v, sinks] = inputs;
        let fit = inputs.iter().zip(self.layout.widths()).all(|(input, width)| input.shape() == [tokens, width]);
        if !fit || ![0, self.layout.heads].contains(&sinks.len()) {
            let shapes = inputs.map(Tensor::shape);
            return Err(misfit(format!("attention {:?} over {tokens} tokens of {shapes:?}", self.layout)));
        }
        let mut log_sum_exp = vec![0.0; tokens * self.layout.heads];
        let y = Tensor::filled(q.shape(), |y| {
            let shape = self.layout.shape(&self.offsets, sinks.host());
            attention(&shape, q.host(), k.host(), v.host(), y, &mut log_sum_exp);
        });
        let saved = Saved { inputs: inputs.map(Tensor::clone), output: y.clone(), log_sum_exp };
        Ok((y, saved))
    }

    fn backward(self, saved: Saved, dy: Tensor, inputs: &mut Inputs) {
        let [q, k, v, sinks] = &saved.inputs;
        let mut gradients = saved.inputs.each_ref().map(|x| zeros(x.len()));
        let [dq, dk, dv, d_sinks] = &mut gradients;
        let (shape, out) = (self.layout.shape(&self.offsets, sinks.host()), saved.output.host());
        attention_backward(&shape, q.host(), k.host(), v.host(), out, &saved.log_sum_exp, dy.host(), dq, dk, dv);
        if inputs.wants(3) {
            attention_sinks_backward(&shape, out, &saved.log_sum_exp, dy.host(), d_sinks);
        }
        for (index, (gradient, input)) in gradients.into_iter().zip(&saved.inputs).enumerate() {
            inputs.give(index, Tensor::new(input.shape(), gradient));
        }
    }
}

impl Tape {
    /// q [tokens, heads · head_dim], k and v [tokens, kv_heads · head_dim] → [tokens, heads · head_dim];
    /// sequence `s` is rows `offsets[s]..offsets[s + 1]`, sinks are `[heads]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn attention(
        &mut self,
        [q, k, v]: [&Value; 3],
        sinks: Option<&Value>,
        layout: &AttentionLayout,
        offsets: &[usize],
    ) -> Result<Value> {
        let none = Value::from(Tensor::zeros([0]));
        let op = Attention { layout: layout.clone(), offsets: offsets.to_vec() };
        self.apply(op, [q, k, v, sinks.unwrap_or(&none)])
    }
}
