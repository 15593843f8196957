//! Which weights of a matrix are kept.

use super::{Pattern, Scope};
use crate::linalg::select;
use crate::tensor::Tensor;

/// One byte per weight, [rows, columns] as the weight: 1 where it is kept, 0 where it is pruned. Clones share the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask(Tensor<u8>);

impl Mask {
    /// From bytes of whole rows, 1 for kept and 0 for pruned.
    ///
    /// # Panics
    /// If they are not whole rows.
    pub fn new(columns: usize, kept: Vec<u8>) -> Self {
        debug_assert!(kept.iter().all(|&byte| byte < 2));
        Self(Tensor::new([kept.len() / columns.max(1), columns], kept))
    }

    /// The mask that `pattern` asks for by these scores [rows, columns]: of each scope the smallest are pruned, ties at the lower
    /// index; of whole inputs and outputs those of the smallest sums. A NaN counts as larger than any number.
    pub fn from_scores(scores: &Tensor, pattern: &Pattern) -> Self {
        let columns = scores.width();
        let (length, pruned) = match *pattern {
            Pattern::Inputs { keep, unit, .. } => {
                let mut sums = vec![0.0; columns / unit];
                for row in scores.host().chunks_exact(columns) {
                    sums.iter_mut().zip(row.chunks_exact(unit)).for_each(|(sum, own)| *sum += own.iter().sum::<f32>());
                }
                let units = select::keep_largest(&sums, sums.len(), sums.len() - keep / unit);
                let kept: Vec<u8> = units.into_iter().flat_map(|kept| std::iter::repeat_n(kept, unit)).collect();
                return Self::of_inputs(&kept, scores.len() / columns);
            }
            Pattern::Outputs { keep, of } => {
                let sums: Vec<f32> = scores.host().chunks_exact(columns).map(|row| row.iter().sum()).collect();
                return Self::of_outputs(&select::keep_largest(&sums, of, of - keep), columns);
            }
            Pattern::Unstructured { sparsity, scope: Scope::Matrix } => {
                (scores.len(), Pattern::pruned_of(sparsity, scores.len()))
            }
            Pattern::Unstructured { sparsity, scope: Scope::Row } => {
                (scores.width(), Pattern::pruned_of(sparsity, scores.width()))
            }
            Pattern::NofM { keep, of } => (of, of - keep),
        };
        Self::new(scores.width(), select::keep_largest(scores.host(), length, pruned))
    }

    /// Of so many outputs that read the same inputs, 1 for those kept.
    pub fn of_inputs(kept: &[u8], outputs: usize) -> Self {
        Self::new(kept.len(), kept.repeat(outputs))
    }

    /// Of whole outputs, 1 for those kept, that read so many inputs.
    pub fn of_outputs(kept: &[u8], columns: usize) -> Self {
        Self::new(columns, kept.iter().flat_map(|&kept| std::iter::repeat_n(kept, columns)).collect())
    }

    /// The mask of the zeros that a weight [rows, columns] has already.
    pub fn of(weight: &Tensor) -> Self {
        Self::new(weight.width(), weight.host().iter().map(|&w| u8::from(w != 0.0)).collect())
    }

    /// The weight [rows, columns] with zeros where it is pruned.
    ///
    /// # Panics
    /// If it has not as many entries as the mask.
    pub fn apply(&self, mut weight: Tensor) -> Tensor {
        lopper_kernels::apply_mask(weight.host_mut(), self.as_slice());
        weight
    }

    /// The bytes [rows, columns].
    pub fn tensor(&self) -> &Tensor<u8> {
        &self.0
    }

    /// The bytes, row-major.
    pub fn as_slice(&self) -> &[u8] {
        self.0.host()
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.0.width()
    }

    /// How many weights are pruned.
    pub fn pruned(&self) -> usize {
        self.0.len() - self.as_slice().iter().map(|&kept| usize::from(kept)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;
    use crate::tensor::Tensor;

    #[test]
    fn the_zeros_of_a_masked_weight_are_its_mask() {
        let mask = Mask::new(3, vec![1, 0, 1, 0, 0, 1]);
        let weight = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let masked = mask.apply(weight.clone());
        assert_eq!(masked.host(), [1.0, 0.0, 3.0, 0.0, 0.0, 6.0]);
        assert_eq!((Mask::of(&masked), mask.pruned(), weight.count_zeros()), (mask, 3, 0));
    }
}
