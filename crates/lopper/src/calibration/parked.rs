//! Tensors that are not needed for a while, kept where hidden states are kept.

use super::storage::{Storage, Stored};
use crate::checkpoint::StorageDtype;
use crate::error::Result;
use crate::tensor::Tensor;

/// Numbers that go to the disk, and come back, at a time.
const PIECE: usize = 16 << 20;

/// Some f32 tensors.
pub(crate) struct Parked(Vec<Place>);

enum Place {
    Memory(Tensor),
    /// Pieces, and the shape.
    Disk(Vec<Stored>, Vec<usize>),
}

impl Parked {
    /// Takes them; in memory they share what they hold.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn new(tensors: Vec<Tensor>, storage: &Storage) -> Result<Self> {
        let park = |tensor: Tensor| {
            if storage.is_memory() {
                return Ok(Place::Memory(tensor));
            }
            let put = |values: &[f32]| {
                let mut bytes = vec![0; size_of_val(values)];
                StorageDtype::F32.encode(values, &mut bytes);
                Stored::new(bytes, storage)
            };
            let pieces = tensor.host().chunks(PIECE).map(put).collect::<Result<_>>()?;
            Ok(Place::Disk(pieces, tensor.shape().to_vec()))
        };
        Ok(Self(tensors.into_iter().map(park).collect::<Result<_>>()?))
    }

    /// Gives them back, one after the other.
    pub fn tensors(&self) -> impl Iterator<Item = Result<Tensor>> {
        self.0.iter().map(|place| match place {
            Place::Memory(tensor) => Ok(tensor.clone()),
            Place::Disk(pieces, shape) => {
                let mut values = lopper_kernels::zeros(shape.iter().product());
                for (values, stored) in values.chunks_mut(PIECE).zip(pieces) {
                    stored.with(|bytes| StorageDtype::F32.decode(bytes, values))?;
                }
                Ok(Tensor::new(shape.as_slice(), values))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Parked, Storage};
    use crate::tensor::Tensor;

    #[test]
    fn what_comes_back_is_what_was_left() {
        let home = tempfile::tempdir().expect("directory");
        let tensors = [Tensor::new([2, 3], vec![0.5, -1.0, 2.0, 3.5, 0.0, 9.0]), Tensor::new([1, 1], vec![7.0])];
        for storage in [Storage::Memory, Storage::on_disk(home.path()).expect("a file")] {
            let parked = Parked::new(tensors.to_vec(), &storage).expect("parked");
            for (back, tensor) in parked.tensors().zip(&tensors) {
                assert_eq!(&back.expect("readable"), tensor);
            }
        }
    }
}
