//! How a file holds a tensor, where that is not as it is used.

use std::borrow::Cow;

use crate::checkpoint::StorageDtype;
use crate::error::Result;
use crate::tensor::Tensor;

/// How a file holds a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    #[default]
    Plain,
    /// A matrix as its transpose.
    Transposed,
    /// Less one: weights of norms that are close to one.
    LessOne,
}

impl Form {
    /// The tensor of a file as it is used.
    ///
    /// # Errors
    /// If a transpose is no matrix.
    pub fn read(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::Plain => Ok(tensor),
            Self::Transposed => tensor.transposed(),
            Self::LessOne => Ok(shifted(tensor, 1.0)),
        }
    }

    /// Rounds a tensor to what it will be when it is read from a file of this dtype. Returns how many numbers were beyond its range.
    pub fn round(self, tensor: &mut Tensor, dtype: StorageDtype) -> usize {
        match self {
            Self::Plain | Self::Transposed if dtype == StorageDtype::F32 => 0,
            Self::Plain | Self::Transposed => dtype.round(tensor.host_mut()),
            // also in f32: one is taken off and added again
            Self::LessOne => {
                let mut stored = shifted(std::mem::replace(tensor, Tensor::zeros([0])), -1.0);
                let beyond = dtype.round(stored.host_mut());
                *tensor = shifted(stored, 1.0);
                beyond
            }
        }
    }

    /// A tensor as the file has it.
    ///
    /// # Errors
    /// If a transpose is no matrix.
    pub fn write(self, tensor: &Tensor) -> Result<Cow<'_, Tensor>> {
        Ok(match self {
            Self::Plain => Cow::Borrowed(tensor),
            Self::Transposed => Cow::Owned(tensor.transposed()?),
            Self::LessOne => Cow::Owned(shifted(tensor.clone(), -1.0)),
        })
    }
}

fn shifted(mut tensor: Tensor, by: f32) -> Tensor {
    for x in tensor.host_mut() {
        *x += by;
    }
    tensor
}

#[cfg(test)]
mod tests {
    use super::Form;
    use crate::checkpoint::StorageDtype;
    use crate::tensor::Tensor;

    #[test]
    fn what_was_rounded_is_read_as_it_is() {
        // 0.1 less one has more digits than f32 has there
        let numbers: Vec<f32> = (-20..60).map(|i| i as f32 * 0.1).collect();
        let weights = Tensor::new([8, 10], numbers);
        for form in [Form::Plain, Form::Transposed, Form::LessOne] {
            for dtype in [StorageDtype::F32, StorageDtype::F16, StorageDtype::BF16] {
                let mut rounded = weights.clone();
                form.round(&mut rounded, dtype);
                let mut file = form.write(&rounded).expect("a matrix").into_owned();
                dtype.round(file.host_mut());
                assert_eq!(form.read(file).expect("a matrix"), rounded, "{form:?} {dtype:?}");
            }
        }
    }

    #[test]
    fn a_transpose_is_written_back_as_it_was() {
        let file = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let used = Form::Transposed.read(file.clone()).expect("a matrix");
        assert_eq!(used, Tensor::new([3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(*Form::Transposed.write(&used).expect("a matrix"), file);
        assert_eq!(
            Form::LessOne.read(Tensor::new([2], vec![0.0, -0.5])).expect("any"),
            Tensor::new([2], vec![1.0, 0.5])
        );
    }
}
