//! The selective scan of state-space models (Gu and Dao 2023, arXiv 2312.00752).

use lopper_kernels::{ScanGradients, ScanInputs, ScanShape, selective_scan, selective_scan_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Scan {
    offsets: Vec<usize>,
    /// Whether there will be a way back.
    records: bool,
}

fn shown(tensors: &[Tensor; 6]) -> ScanInputs<'_> {
    let [x, step, into, out_of, decay, skip] = tensors.each_ref().map(Tensor::host);
    ScanInputs { x, step, into, out_of, decay, skip }
}

impl Op<6> for Scan {
    type Saved = ([Tensor; 6], Vec<f32>);

    fn forward(&self, inputs: [&Tensor; 6]) -> Result<(Tensor, Self::Saved)> {
        let [x, step, into, out_of, decay, skip] = inputs;
        let ([tokens, width], [_, states]) = (x.matrix()?, decay.matrix()?);
        let ways = [into, out_of].iter().all(|way| way.shape() == [tokens, states]);
        let channels = decay.shape() == [width, states] && skip.len() == width && step.shape() == x.shape();
        if !ways || !channels || self.offsets.last() != Some(&tokens) {
            let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
            return Err(misfit(format!("a scan of {shapes:?} in sequences that end at {:?}", self.offsets.last())));
        }
        let shape = ScanShape { width, states, offsets: &self.offsets };
        let mut kept = vec![0.0; if self.records { shape.kept() } else { 0 }];
        let saved = inputs.map(Tensor::clone);
        let y = Tensor::filled([tokens, width], |y| selective_scan(&shape, &shown(&saved), y, &mut kept));
        Ok((y, (saved, kept)))
    }

    fn backward(self, (saved, kept): Self::Saved, dy: Tensor, inputs: &mut Inputs) {
        let shape = ScanShape { width: dy.width(), states: saved[2].width(), offsets: &self.offsets };
        let mut found = saved.each_ref().map(|input| Tensor::zeros(input.shape()));
        let [x, step, into, out_of, decay, skip] = found.each_mut().map(Tensor::host_mut);
        let gradients = ScanGradients { x, step, into, out_of, decay, skip };
        selective_scan_backward(&shape, &shown(&saved), (dy.host(), &kept), gradients);
        found.into_iter().enumerate().for_each(|(index, gradient)| inputs.give(index, gradient));
    }
}

impl Tape {
    /// x and steps [tokens, d], B and C [tokens, states], the logarithm of −A [d, states] and D `[d]` → [tokens, d]; sequence `s` is rows
    /// `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn scan(&mut self, inputs: [&Value; 6], offsets: &[usize]) -> Result<Value> {
        let records = inputs.iter().any(|input| input.is_tracked());
        self.apply(Scan { offsets: offsets.to_vec(), records }, inputs)
    }
}
