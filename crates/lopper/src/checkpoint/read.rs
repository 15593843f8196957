//! Weights as f32 tensors in memory: whole, by rows, or by chosen rows.

use std::collections::BTreeMap;
use std::ops::Range;

use super::dtype::StorageDtype;
use super::open::{Checkpoint, TensorInfo};
use crate::tensor::Tensor;
use crate::{Error, Result};

impl Checkpoint {
    /// The stored bytes of a tensor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor; [`Error::Io`] when it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let info = self.require(name)?;
        let mut bytes = vec![0; info.bytes.len()];
        self.shards[info.shard].read(info.bytes.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Widens the stored bytes of a tensor from `start` on into `values`.
    fn decode(&self, info: &TensorInfo, storage: StorageDtype, start: usize, values: &mut [f32]) -> Result<()> {
        let (start, size) = (info.bytes.start + start, storage.size());
        self.shards[info.shard].pieces(start..start + values.len() * size, |before, bytes| {
            storage.decode(bytes, &mut values[before / size..][..bytes.len() / size]);
            Ok(())
        })
    }

    /// A whole tensor, f32, in the shape of the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor or its dtype is not f64, f32, f16 or bf16; [`Error::Io`] when it cannot be read.
    pub fn tensor_f32(&self, name: &str) -> Result<Tensor> {
        let (info, storage) = self.require_float(name)?;
        let mut values = vec![0.0; info.elements()];
        self.decode(info, storage, 0, &mut values)?;
        Ok(Tensor::new(info.shape.as_slice(), values))
    }

    /// Rows `rows` of the first dimension, f32: shape `[rows.len(), …]`.
    ///
    /// # Errors
    /// As [`Self::tensor_f32`], and when the rows are not all there.
    pub fn rows_f32(&self, name: &str, rows: Range<usize>) -> Result<Tensor> {
        let (info, storage) = self.require_float(name)?;
        let (count, width) = self.rows_of(name, info)?;
        if rows.start > rows.end || rows.end > count {
            return Err(self.fault(info, format!("tensor `{name}` has {count} rows; rows {rows:?} were asked for")));
        }
        let mut values = vec![0.0; rows.len() * width];
        self.decode(info, storage, rows.start * width * storage.size(), &mut values)?;
        Ok(Tensor::new(with_rows(info, rows.len()), values))
    }

    /// The rows `ids` of the first dimension, in that order, f32: shape `[ids.len(), …]`.
    ///
    /// # Errors
    /// As [`Self::tensor_f32`], and when an id is beyond the last row.
    pub fn gather_rows_f32(&self, name: &str, ids: &[u32]) -> Result<Tensor> {
        let (info, storage) = self.require_float(name)?;
        let (count, width) = self.rows_of(name, info)?;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= count) {
            return Err(self.fault(info, format!("tensor `{name}` has {count} rows; row {id} was asked for")));
        }
        let mut values = vec![0.0; ids.len() * width];
        for (row, &id) in values.chunks_mut(width.max(1)).zip(ids) {
            self.decode(info, storage, id as usize * width * storage.size(), row)?;
        }
        Ok(Tensor::new(with_rows(info, ids.len()), values))
    }

    /// Checks that a tensor holds no NaN and no infinity.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor and the position of the first offender; as [`Self::tensor_f32`] otherwise.
    pub fn check_finite(&self, name: &str) -> Result<()> {
        let (info, storage) = self.require_float(name)?;
        self.shards[info.shard].pieces(info.bytes.clone(), |before, bytes| match storage.first_non_finite(bytes) {
            None => Ok(()),
            Some(position) => {
                let place = coordinates(before / storage.size() + position, &info.shape);
                Err(self.fault(info, format!("tensor `{name}` holds a NaN or an infinity at {place:?}")))
            }
        })
    }

    /// Has the system read some tensors from the disk while the program goes on; unknown names are ignored.
    pub fn prefetch<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut ranges: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        for info in names.into_iter().filter_map(|name| self.info(name)) {
            ranges.entry(info.shard).or_default().push(info.bytes.clone());
        }
        for (shard, ranges) in ranges {
            self.shards[shard].prefetch(ranges);
        }
    }

    pub(super) fn require(&self, name: &str) -> Result<&TensorInfo> {
        self.info(name).ok_or_else(|| Error::Checkpoint {
            path: self.dir().to_owned(),
            problem: format!("there is no tensor `{name}`"),
            hint: self.similar(name).map(|other| format!("there is `{other}`")),
        })
    }

    fn require_float(&self, name: &str) -> Result<(&TensorInfo, StorageDtype)> {
        let info = self.require(name)?;
        let storage = info.storage().ok_or_else(|| {
            let mut error = self.fault(
                info,
                format!(
                    "tensor `{name}` is stored as {:?}; only F64, F32, F16 and BF16 can be used as weights",
                    info.dtype
                ),
            );
            if let Error::Checkpoint { hint, .. } = &mut error {
                *hint = Some("a quantised checkpoint cannot be pruned; start from the one it was made from".into());
            }
            error
        })?;
        Ok((info, storage))
    }

    /// Number of rows and elements per row.
    fn rows_of(&self, name: &str, info: &TensorInfo) -> Result<(usize, usize)> {
        match info.shape.split_first() {
            Some((&count, rest)) => Ok((count, rest.iter().product())),
            None => Err(self.fault(info, format!("tensor `{name}` is a scalar and has no rows"))),
        }
    }

    fn fault(&self, info: &TensorInfo, problem: String) -> Error {
        Error::Checkpoint { path: self.shards[info.shard].path.clone(), problem, hint: None }
    }

    /// A tensor whose name ends as `name` does: most wrong names differ by a prefix.
    fn similar(&self, name: &str) -> Option<&str> {
        let tail = name.split_once('.').map_or(name, |(_, tail)| tail);
        self.names().find(|other| other.ends_with(tail) || name.ends_with(other))
    }
}

fn with_rows(info: &TensorInfo, rows: usize) -> Vec<usize> {
    let mut shape = info.shape.clone();
    shape[0] = rows;
    shape
}

/// Indices of the element at `position`, row-major.
pub(super) fn coordinates(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut indices: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let index = position % size;
            position /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}
