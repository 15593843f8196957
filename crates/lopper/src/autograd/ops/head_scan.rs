//! The scan of Mamba 2 (Dao and Gu 2024, arXiv 2405.21060).

use lopper_kernels::{HeadScanGradients, HeadScanInputs, HeadScanShape, head_scan, head_scan_backward};

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// How the channels of a scan are shared out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanHeads {
    /// Heads, whose channels fall alike.
    pub heads: usize,
    /// Groups of heads that share B and C.
    pub groups: usize,
    /// The smallest and the largest step.
    pub limits: [f32; 2],
}

struct HeadScan {
    heads: ScanHeads,
    offsets: Vec<usize>,
}

impl HeadScan {
    fn shape(&self, width: usize, ways: usize) -> HeadScanShape<'_> {
        let ScanHeads { heads, groups, .. } = self.heads;
        HeadScanShape { heads, head_dim: width / heads, groups, states: ways / groups, offsets: &self.offsets }
    }

    fn shown<'a>(&self, tensors: &'a [Tensor; 7]) -> HeadScanInputs<'a> {
        let [x, step, into, out_of, decay, skip, bias] = tensors.each_ref().map(Tensor::host);
        HeadScanInputs { x, step, into, out_of, decay, skip, bias, limits: self.heads.limits }
    }
}

impl Op<7> for HeadScan {
    type Saved = ([Tensor; 7], Vec<f32>);

    fn forward(&self, inputs: [&Tensor; 7]) -> Result<(Tensor, Self::Saved)> {
        let [x, step, into, out_of, of_heads @ ..] = inputs;
        let ([tokens, width], ScanHeads { heads, groups, .. }) = (x.matrix()?, self.heads);
        let is_shared = heads > 0 && groups > 0 && width.is_multiple_of(heads) && heads.is_multiple_of(groups);
        let fits = is_shared
            && step.shape() == [tokens, heads]
            && into.shape() == out_of.shape()
            && into.matrix()?[0] == tokens
            && into.width().is_multiple_of(groups)
            && of_heads.iter().all(|numbers| numbers.shape() == [heads])
            && self.offsets.last() == Some(&tokens);
        if !fits {
            let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
            let end = self.offsets.last();
            return Err(misfit(format!("a scan of {shapes:?} by {:?} in sequences that end at {end:?}", self.heads)));
        }
        let (shape, saved) = (self.shape(width, into.width()), inputs.map(Tensor::clone));
        let mut kept = vec![0.0; shape.kept()];
        let y = Tensor::filled([tokens, width], |y| head_scan(&shape, &self.shown(&saved), y, &mut kept));
        Ok((y, (saved, kept)))
    }

    fn backward(self, (saved, kept): Self::Saved, dy: Tensor, inputs: &mut Inputs) {
        let shape = self.shape(dy.width(), saved[2].width());
        let mut found = saved.each_ref().map(|input| Tensor::zeros(input.shape()));
        let [x, step, into, out_of, decay, skip, bias] = found.each_mut().map(Tensor::host_mut);
        let gradients = HeadScanGradients { x, step, into, out_of, decay, skip, bias };
        head_scan_backward(&shape, &self.shown(&saved), (dy.host(), &kept), gradients);
        found.into_iter().enumerate().for_each(|(index, gradient)| inputs.give(index, gradient));
    }
}

impl Tape {
    /// x [tokens, d], steps [tokens, heads], B and C [tokens, groups·states], the logarithm of −A, D and what is added to steps, each
    /// `[heads]` → [tokens, d]; sequence `s` is rows `offsets[s]..offsets[s + 1]`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn head_scan(&mut self, inputs: [&Value; 7], heads: ScanHeads, offsets: &[usize]) -> Result<Value> {
        self.apply(HeadScan { heads, offsets: offsets.to_vec() }, inputs)
    }
}
