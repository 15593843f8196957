//! What a linear layer sees of the calibration data: column norms or a Gram matrix, streamed; and what is derived from it once.

use lopper_kernels::{column_squares, column_sums};

use crate::error::Result;
use crate::linalg::{Gram, InverseHessian};
use crate::tensor::{Tensor, misfit};

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
    /// `Σ x_j` `[d_in]`; zeros where nothing was asked for.
    pub sums: Tensor<f64>,
    /// `XᵀX`, where asked for.
    pub gram: Option<Gram>,
    /// `XᵀX` of the rows held out, where there are any; always of no less than [`Needs::Gram`].
    pub held_out: Option<Gram>,
    /// The factor of `(XᵀX + γI)⁻¹`, where asked for and where there is one.
    pub inverse: Option<InverseHessian>,
    needs: Needs,
}

impl InputStatistics {
    /// Of no input yet.
    pub fn new(d_in: usize, needs: Needs) -> Self {
        let gram = (needs >= Needs::Gram).then(|| Gram::new(d_in));
        let [squares, sums] = [(); 2].map(|()| Tensor::zeros([d_in]));
        Self { tokens: 0, squares, sums, gram, held_out: None, inverse: None, needs }
    }

    /// Of inputs that no method asked about.
    pub fn unseen(d_in: usize) -> Self {
        Self::new(d_in, Needs::Nothing)
    }

    /// Adds rows [tokens, d_in].
    pub fn add(&mut self, x: &[f32]) {
        let d_in = self.squares.len();
        self.tokens += x.len() / d_in;
        let mut sums = vec![0.0; d_in];
        column_sums(x, &mut sums);
        self.sums.host_mut().iter_mut().zip(sums).for_each(|(sum, x)| *sum += f64::from(x));
        match &mut self.gram {
            Some(gram) => gram.add(x),
            None => column_squares(x, d_in, self.squares.host_mut()),
        }
    }

    /// Adds rows [tokens, d_in] that are held out.
    pub fn hold_out(&mut self, x: &[f32]) {
        let d_in = self.squares.len();
        self.held_out.get_or_insert_with(|| Gram::new(d_in)).add(x);
    }

    /// Adds the rows that another has counted, of the same layer and with the same needs: parts of the calibration data may be counted
    /// apart, on other machines too. Call it before [`InputStatistics::finish`], always in the same order where bytes count.
    ///
    /// # Errors
    /// If the other is of another width or does not know what this one needs.
    ///
    /// ```
    /// use lopper::calibration::{InputStatistics, Needs};
    ///
    /// let [mut whole, mut first, mut second] = [(); 3].map(|()| InputStatistics::new(2, Needs::Gram));
    /// whole.add(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// first.add(&[1.0, 2.0]);
    /// second.add(&[3.0, 4.0, 5.0, 6.0]);
    /// first.merge(&second)?;
    /// for statistics in [&mut whole, &mut first] {
    ///     statistics.finish(0.01);
    /// }
    /// assert_eq!((first.tokens, first.squares), (3, whole.squares));
    /// # Ok::<(), lopper::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.squares.len() != other.squares.len() || self.needs != other.needs {
            let (own, width) = (self.squares.len(), other.squares.len());
            return Err(misfit(format!(
                "statistics of {width} inputs cannot be added to those of {own} that need more or less"
            )));
        }
        self.tokens += other.tokens;
        for (own, other) in [(&mut self.squares, &other.squares), (&mut self.sums, &other.sums)] {
            own.host_mut().iter_mut().zip(other.host()).for_each(|(sum, other)| *sum += other);
        }
        if let (Some(gram), Some(other)) = (&mut self.gram, &other.gram) {
            gram.merge(other);
        }
        match (&mut self.held_out, &other.held_out) {
            (Some(held_out), Some(other)) => held_out.merge(other),
            (held_out, other) => *held_out = held_out.take().or_else(|| other.clone()),
        }
        Ok(())
    }

    /// Where an expert saw fewer than `wanted` tokens, adds those of all that it might have seen, weighted so that both together are as
    /// many. Call it before [`InputStatistics::finish`].
    ///
    /// ```
    /// use lopper::calibration::{InputStatistics, Needs};
    ///
    /// let [mut own, mut all] = [(); 2].map(|()| InputStatistics::new(1, Needs::Gram));
    /// own.add(&[3.0]);
    /// all.add(&[1.0, 1.0, 1.0, 1.0]);
    /// own.complete(&all, 3);
    /// own.finish(0.01);
    /// assert_eq!((own.tokens, own.squares.host()), (3, &[9.0 + 2.0][..]));
    /// ```
    pub fn complete(&mut self, all: &Self, wanted: usize) {
        let missing = wanted.saturating_sub(self.tokens);
        if missing == 0 || all.tokens == 0 {
            return;
        }
        let factor = missing as f64 / all.tokens as f64;
        self.tokens = wanted;
        for (own, all) in [(&mut self.squares, &all.squares), (&mut self.sums, &all.sums)] {
            own.host_mut().iter_mut().zip(all.host()).for_each(|(sum, all)| *sum += factor * all);
        }
        if let (Some(gram), Some(all)) = (&mut self.gram, &all.gram) {
            gram.merge_scaled(all, factor);
        }
        if let Some(all) = &all.held_out {
            let d_in = self.squares.len();
            self.held_out.get_or_insert_with(|| Gram::new(d_in)).merge_scaled(all, factor);
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
        if let Some(held_out) = &mut self.held_out {
            held_out.shrink();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InputStatistics, Needs};

    #[test]
    fn parts_that_are_merged_are_the_whole() {
        let (rows, width) = (700, 9);
        let x: Vec<f32> = (0..rows * width).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.3).collect();
        for needs in [Needs::ColumnNorms, Needs::Gram, Needs::InverseHessian] {
            let count = |rows: &[f32]| {
                let mut statistics = InputStatistics::new(width, needs);
                statistics.add(rows);
                statistics
            };
            let (mut whole, (first, rest)) = (count(&x), x.split_at(width * 211));
            let mut merged = count(first);
            merged.merge(&count(rest)).expect("alike");
            whole.finish(0.01);
            merged.finish(0.01);
            assert_eq!(merged.tokens, rows);
            for (merged, whole) in merged.squares.host().iter().zip(whole.squares.host()) {
                assert!((merged - whole).abs() < 1e-6 * whole, "{merged} against {whole}");
            }
            for (merged, whole) in merged.sums.host().iter().zip(whole.sums.host()) {
                assert!((merged - whole).abs() < 1e-4, "{merged} against {whole}");
            }
            if let (Some(merged), Some(whole)) = (&merged.gram, &whole.gram) {
                let (merged, whole) = (merged.damped(0.0).into_vec(), whole.damped(0.0).into_vec());
                assert!(merged.iter().zip(&whole).all(|(m, w)| (m - w).abs() < 1e-5 * w.abs().max(1.0)));
            }
            assert_eq!(merged.inverse.is_some(), whole.inverse.is_some());
        }
        let mut narrow = InputStatistics::new(width - 1, Needs::Gram);
        assert!(narrow.merge(&InputStatistics::new(width, Needs::Gram)).is_err());
        assert!(narrow.merge(&InputStatistics::new(width - 1, Needs::ColumnNorms)).is_err());
    }
}
