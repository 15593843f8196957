//! What linear layers see of the calibration data: column norms or a Gram matrix, streamed; and what is derived from it once.

use std::collections::BTreeMap;

use lopper_kernels::column_squares;

use crate::error::Result;
use crate::linalg::{Gram, InverseHessian};
use crate::model::Tap;
use crate::tensor::Tensor;

/// What a method wants to know of a layer's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Only the weight: no calibration runs.
    Nothing,
    /// `Σ x_j²` of each input.
    ColumnNorms,
    /// `XᵀX`.
    Gram,
    /// `XᵀX`, and the factor of the inverse of it with damping.
    InverseHessian,
}

/// Statistics of the inputs X [tokens, d_in] of a linear layer.
#[derive(Clone, Debug)]
pub struct InputStatistics {
    /// How many rows X has.
    pub tokens: usize,
    /// `Σ x_j²` `[d_in]`; zeros where nothing was asked for.
    pub squares: Tensor<f64>,
    /// `XᵀX`, where asked for.
    pub gram: Option<Gram>,
    /// The factor of `(XᵀX + γI)⁻¹`, where asked for and where there is one.
    pub inverse: Option<InverseHessian>,
    needs: Needs,
}

impl InputStatistics {
    /// Of no input yet.
    pub fn new(d_in: usize, needs: Needs) -> Self {
        let gram = (needs >= Needs::Gram).then(|| Gram::new(d_in));
        Self { tokens: 0, squares: Tensor::zeros([d_in]), gram, inverse: None, needs }
    }

    /// Of inputs that no method asked about.
    pub fn unseen(d_in: usize) -> Self {
        Self::new(d_in, Needs::Nothing)
    }

    /// Adds rows [tokens, d_in].
    pub fn add(&mut self, x: &[f32]) {
        let d_in = self.squares.len();
        self.tokens += x.len() / d_in;
        match &mut self.gram {
            Some(gram) => gram.add(x),
            None => column_squares(x, d_in, self.squares.host_mut()),
        }
    }

    /// Whether they say what a method with these needs wants to know.
    pub fn answer(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing | Needs::ColumnNorms => true,
            Needs::Gram => self.gram.is_some(),
            Needs::InverseHessian => self.inverse.is_some(),
        }
    }

    /// Call when all rows are in. `damping` is γ as a share of the mean diagonal.
    pub fn finish(&mut self, damping: f64) {
        if let Some(gram) = &mut self.gram {
            gram.shrink();
            self.squares = gram.diagonal();
            self.inverse = (self.needs == Needs::InverseHessian).then(|| InverseHessian::new(gram, damping)).flatten();
        }
    }
}

/// Statistics of the inputs of some linear layers of a block, by the first layer that reads an input.
pub type BlockStatistics = BTreeMap<usize, InputStatistics>;

/// Collects the statistics of the inputs that it is given.
pub struct Collector {
    needs: Needs,
    collected: BlockStatistics,
}

impl Collector {
    /// Of no input yet.
    pub fn new(needs: Needs) -> Self {
        Self { needs, collected: BTreeMap::new() }
    }

    /// Adds the first `rows` rows of each input.
    pub fn add(&mut self, seen: &SeenInputs, rows: usize) {
        if self.needs == Needs::Nothing || rows == 0 {
            return;
        }
        for (first, input) in &seen.0 {
            let width = input.width();
            let statistics = self.collected.entry(*first).or_insert_with(|| InputStatistics::new(width, self.needs));
            statistics.add(&input.host()[..input.len().min(rows * width)]);
        }
    }

    /// The statistics. `damping` is γ as a share of the mean diagonal.
    pub fn finish(mut self, damping: f64) -> BlockStatistics {
        self.collected.values_mut().for_each(|statistics| statistics.finish(damping));
        self.collected
    }
}

/// The inputs that linear layers read in a forward pass, by the first layer that reads each, so that they can be counted in the order
/// of the batches.
#[derive(Default)]
pub struct SeenInputs(Vec<(usize, Tensor)>);

impl SeenInputs {
    /// Takes the input of one layer out.
    pub fn take(self, first: usize) -> Option<Tensor> {
        self.0.into_iter().find(|(seen, _)| *seen == first).map(|(_, input)| input)
    }
}

impl Tap for SeenInputs {
    fn linear_input(&mut self, first: usize, input: &Tensor) -> Result<()> {
        self.0.push((first, input.clone()));
        Ok(())
    }
}
