//! The scan by the gated delta rule (Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464).

use lopper_kernels::{DeltaScanGradients, DeltaScanInputs, DeltaScanShape, delta_scan, delta_scan_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// How the columns of a scan by the delta rule are shared out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaHeads {
    /// Heads of queries and keys.
    pub keys: usize,
    /// Heads of values; a key head serves as many next to each other.
    pub values: usize,
}

struct DeltaScan {
    heads: DeltaHeads,
    offsets: Vec<usize>,
}

impl DeltaScan {
    fn shape(&self, keys: usize, values: usize) -> DeltaScanShape<'_> {
        let DeltaHeads { keys: key_heads, values: value_heads } = self.heads;
        let [key_dim, value_dim] = [keys / key_heads, values / value_heads];
        DeltaScanShape { key_heads, key_dim, value_heads, value_dim, offsets: &self.offsets }
    }
}

fn shown(tensors: &[Tensor; 7]) -> DeltaScanInputs<'_> {
    let [query, key, value, step, strength, decay, bias] = tensors.each_ref().map(Tensor::host);
    DeltaScanInputs { query, key, value, step, strength, decay, bias }
}

impl Op<7> for DeltaScan {
    type Saved = ([Tensor; 7], Vec<f32>);

    fn forward(&self, inputs: [&Tensor; 7]) -> Result<(Tensor, Self::Saved)> {
        let [query, key, value, step, strength, of_heads @ ..] = inputs;
        let ([tokens, width], DeltaHeads { keys, values }) = (value.matrix()?, self.heads);
        let is_shared = keys > 0 && values > 0 && values.is_multiple_of(keys) && width.is_multiple_of(values);
        let fits = is_shared
            && query.matrix()?[0] == tokens
            && query.width().is_multiple_of(keys)
            && key.shape() == query.shape()
            && [step, strength].iter().all(|numbers| numbers.shape() == [tokens, values])
            && of_heads.iter().all(|numbers| numbers.shape() == [values])
            && self.offsets.last() == Some(&tokens);
        if !fits {
            let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
            let end = self.offsets.last();
            return Err(misfit(format!("a scan of {shapes:?} by {:?} in sequences that end at {end:?}", self.heads)));
        }
        let (shape, saved) = (self.shape(query.width(), width), inputs.map(Tensor::clone));
        let mut kept = vec![0.0; shape.kept()];
        let y = Tensor::filled([tokens, width], |y| delta_scan(&shape, &shown(&saved), y, &mut kept));
        Ok((y, (saved, kept)))
    }

    fn backward(self, (saved, kept): Self::Saved, dy: Tensor, inputs: &mut Inputs) {
        let shape = self.shape(saved[0].width(), dy.width());
        let mut found = saved.each_ref().map(|input| Tensor::zeros(input.shape()));
        let [query, key, value, step, strength, decay, bias] = found.each_mut().map(Tensor::host_mut);
        let gradients = DeltaScanGradients { query, key, value, step, strength, decay, bias };
        delta_scan_backward(&shape, &shown(&saved), (dy.host(), &kept), gradients);
        found.into_iter().enumerate().for_each(|(index, gradient)| inputs.give(index, gradient));
    }
}

impl Tape {
    /// Queries and keys [tokens, d_k], values [tokens, d_v], steps and strengths [tokens, value heads], the logarithm of −A and what is added
    /// to steps, each `[value heads]` → [tokens, d_v]; sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn delta_scan(&mut self, inputs: [&Value; 7], heads: DeltaHeads, offsets: &[usize]) -> Result<Value> {
        self.apply(DeltaScan { heads, offsets: offsets.to_vec() }, inputs)
    }
}
