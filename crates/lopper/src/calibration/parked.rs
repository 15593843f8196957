//! Tensors that are not needed for a while, kept where hidden states are kept.

use candle_core::{Device, Shape, Tensor};

use super::storage::{Storage, Stored};
use crate::autograd::read;
use crate::checkpoint::StorageDtype;
use crate::error::Result;

/// Numbers that go to the disk, and come back, at a time.
const PIECE: usize = 16 << 20;

/// Some f32 tensors.
pub(crate) struct Parked(Vec<Place>);

enum Place {
    Memory(Tensor),
    Disk(Vec<Stored>, Shape, Device),
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
            let here = tensor.to_device(&Device::Cpu)?.contiguous()?;
            let put = |values: &[f32]| {
                let mut bytes = vec![0; size_of_val(values)];
                StorageDtype::F32.encode(values, &mut bytes);
                Stored::new(bytes, storage)
            };
            let pieces = read([&here], |[values]| values.chunks(PIECE).map(put).collect::<Result<_>>())??;
            Ok(Place::Disk(pieces, tensor.shape().clone(), tensor.device().clone()))
        };
        Ok(Self(tensors.into_iter().map(park).collect::<Result<_>>()?))
    }

    /// Gives them back, one after the other.
    pub fn tensors(&self) -> impl Iterator<Item = Result<Tensor>> {
        self.0.iter().map(|place| match place {
            Place::Memory(tensor) => Ok(tensor.clone()),
            Place::Disk(pieces, shape, device) => {
                let mut values = vec![0.0; shape.elem_count()];
                for (values, stored) in values.chunks_mut(PIECE).zip(pieces) {
                    stored.with(|bytes| StorageDtype::F32.decode(bytes, values))?;
                }
                Ok(Tensor::from_vec(values, shape.clone(), &Device::Cpu)?.to_device(device)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Parked, Storage};

    #[test]
    fn what_comes_back_is_what_was_left() {
        let home = tempfile::tempdir().expect("directory");
        let tensors = [(2, 3), (1, 1)].map(|shape| Tensor::rand(-1f32, 1.0, shape, &Device::Cpu).expect("numbers"));
        for storage in [Storage::Memory, Storage::on_disk(home.path()).expect("a file")] {
            let parked = Parked::new(tensors.to_vec(), &storage).expect("parked");
            for (back, tensor) in parked.tensors().zip(&tensors) {
                let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().expect("rows");
                assert_eq!(rows(&back.expect("readable")), rows(tensor));
            }
        }
    }
}
