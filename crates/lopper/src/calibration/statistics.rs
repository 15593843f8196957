//! What linear layers see of the calibration data: column norms or a Gram matrix, streamed; and what is derived from it once.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use lopper_kernels::column_squares;

use crate::autograd::read;
use crate::linalg::{Gram, InverseHessian};
use crate::model::{LinearRole, Tap};
use crate::tensor;

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
    /// `Σ x_j²` [d_in]; zeros where nothing was asked for.
    pub squares: tensor::Tensor<f64>,
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
        Self { tokens: 0, squares: tensor::Tensor::zeros([d_in]), gram, inverse: None, needs }
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

/// Collects statistics during forward passes. Layers that read one input share one set.
pub struct StatisticsTap {
    needs: Needs,
    /// Rows of a batch that count; the ones after them are held out.
    rows: usize,
    collected: BTreeMap<LinearRole, InputStatistics>,
}

impl StatisticsTap {
    /// Of no input yet.
    pub fn new(needs: Needs) -> Self {
        Self { needs, rows: usize::MAX, collected: BTreeMap::new() }
    }

    /// From now on only the first `rows` rows of each input count.
    pub fn limit(&mut self, rows: usize) {
        self.rows = rows;
    }

    /// The statistics by the first layer that reads an input. `damping` is γ as a share of the mean diagonal.
    pub fn finish(mut self, damping: f64) -> BTreeMap<LinearRole, InputStatistics> {
        self.collected.values_mut().for_each(|statistics| statistics.finish(damping));
        self.collected
    }
}

impl Tap for StatisticsTap {
    fn linear_input(&mut self, roles: &[LinearRole], input: &Tensor) -> Result<()> {
        if self.needs == Needs::Nothing || self.rows == 0 {
            return Ok(());
        }
        let (tokens, d_in) = input.dims2()?;
        let statistics = self.collected.entry(roles[0]).or_insert_with(|| InputStatistics::new(d_in, self.needs));
        let input = input.narrow(0, 0, self.rows.min(tokens))?.to_device(&Device::Cpu)?.contiguous()?;
        read([&input], |[input]| statistics.add(input))
    }
}

/// Keeps the inputs that it sees, so that they can be counted in the order of the batches.
#[derive(Default)]
pub struct SeenInputs(Vec<(LinearRole, Tensor)>);

impl SeenInputs {
    /// Shows them to `tap` in the order in which they were seen.
    ///
    /// # Errors
    /// Those of the tap.
    pub fn show(&self, tap: &mut StatisticsTap) -> Result<()> {
        self.0.iter().try_for_each(|(role, input)| tap.linear_input(&[*role], input))
    }
}

impl Tap for SeenInputs {
    fn linear_input(&mut self, roles: &[LinearRole], input: &Tensor) -> Result<()> {
        self.0.push((roles[0], input.clone()));
        Ok(())
    }
}
