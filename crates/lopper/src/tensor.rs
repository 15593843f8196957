//! A tensor of our own: numbers, their shape, and the place where they are.
//!
//! A tensor never changes under its reader: clones share the numbers, and whoever writes to shared ones gets a copy first
//! ([`Tensor::host_mut`]). So a snapshot costs nothing until training moves away from it, and nothing has to be locked.
//! The host's memory is the only place so far; a device's will be another variant of `Place`.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Numbers that a thread looks at in one go.
const PIECE: usize = 1 << 16;
/// Side of the squares in which a matrix is transposed.
const TILE: usize = 32;

/// Numbers that a tensor can hold.
pub trait Element: Copy + Default + PartialEq + Debug + Send + Sync + 'static {
    /// Zeros.
    fn zeros(count: usize) -> Vec<Self> {
        vec![Self::default(); count]
    }

    /// A copy.
    fn copied(numbers: &[Self]) -> Vec<Self> {
        numbers.to_vec()
    }
}

impl Element for f32 {
    fn zeros(count: usize) -> Vec<Self> {
        lopper_kernels::zeros(count)
    }

    fn copied(numbers: &[Self]) -> Vec<Self> {
        lopper_kernels::copied(numbers)
    }
}

impl Element for f64 {}
impl Element for u8 {}

/// Where the numbers are.
#[derive(Clone)]
enum Place<T> {
    /// In memory, row-major and without gaps.
    Host(Arc<Vec<T>>),
}

/// Numbers in a shape, the last dimension contiguous; `f32` unless said otherwise.
#[derive(Clone)]
pub struct Tensor<T: Element = f32> {
    shape: Vec<usize>,
    place: Place<T>,
}

impl<T: Element> Tensor<T> {
    /// From numbers in row-major order.
    ///
    /// # Panics
    /// If they are not as many as the shape has.
    pub fn new(shape: impl Into<Vec<usize>>, numbers: Vec<T>) -> Self {
        let shape = shape.into();
        let count: usize = shape.iter().product();
        assert_eq!(count, numbers.len(), "{} numbers do not fill the shape {shape:?}", numbers.len());
        Self { shape, place: Place::Host(Arc::new(numbers)) }
    }

    /// Of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let numbers = T::zeros(shape.iter().product());
        Self::new(shape, numbers)
    }

    /// Filled by `f`, which is given zeros.
    pub fn filled(shape: impl Into<Vec<usize>>, f: impl FnOnce(&mut [T])) -> Self {
        let mut tensor = Self::zeros(shape);
        f(tensor.host_mut());
        tensor
    }

    /// One number, of shape `[]`.
    pub fn scalar(number: T) -> Self {
        Self::new([], vec![number])
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.host().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and columns.
    ///
    /// # Errors
    /// If it is no matrix.
    pub fn matrix(&self) -> Result<[usize; 2]> {
        self.shape.as_slice().try_into().map_err(|_| misfit(format!("{:?} is no matrix", self.shape)))
    }

    /// Size of the last dimension; 1 for a scalar.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The numbers, row-major.
    pub fn host(&self) -> &[T] {
        let Place::Host(numbers) = &self.place;
        numbers
    }

    /// The numbers to be written to. No clone sees the change: shared ones are copied first.
    #[expect(clippy::missing_panics_doc, reason = "numbers that were just copied are not shared")]
    pub fn host_mut(&mut self) -> &mut [T] {
        let Place::Host(numbers) = &mut self.place;
        if Arc::get_mut(numbers).is_none() {
            *numbers = Arc::new(T::copied(numbers));
        }
        Arc::get_mut(numbers).expect("just made, or known to be owned alone")
    }

    /// The numbers as a vector; copied where clones share them.
    pub fn into_vec(self) -> Vec<T> {
        let Place::Host(numbers) = self.place;
        Arc::try_unwrap(numbers).unwrap_or_else(|shared| T::copied(&shared))
    }

    /// The same numbers in another shape.
    ///
    /// # Errors
    /// If that has not as many.
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        if shape.iter().product::<usize>() != self.len() {
            return Err(misfit(format!("{:?} cannot become {shape:?}", self.shape)));
        }
        Ok(Self { shape, place: self.place })
    }

    /// Some rows of the first dimension, as a copy.
    ///
    /// # Errors
    /// If they are not all there.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self> {
        let (&count, rest) = self.shape.split_first().ok_or_else(|| misfit("a scalar has no rows".into()))?;
        if rows.start > rows.end || rows.end > count {
            return Err(misfit(format!("rows {rows:?} of {:?}", self.shape)));
        }
        let width: usize = rest.iter().product();
        let numbers = T::copied(&self.host()[rows.start * width..rows.end * width]);
        Ok(Self::new([&[rows.len()], rest].concat(), numbers))
    }

    /// Tensors of one width one after the other, along the first dimension.
    ///
    /// # Errors
    /// If there are none, or their widths differ.
    pub fn stack(parts: &[Self]) -> Result<Self> {
        let first = parts.first().ok_or_else(|| misfit("nothing to put together".into()))?;
        let width = first.width();
        if let Some(other) = parts.iter().find(|part| part.width() != width) {
            return Err(misfit(format!("{:?} beside {:?}", other.shape, first.shape)));
        }
        let rows: usize = parts.iter().map(|part| part.len() / width.max(1)).sum();
        let mut numbers = T::zeros(rows * width);
        let mut rest = numbers.as_mut_slice();
        for part in parts {
            let (here, behind) = rest.split_at_mut(part.len());
            here.copy_from_slice(part.host());
            rest = behind;
        }
        Ok(Self::new([rows, width], numbers))
    }
}

impl Tensor {
    /// The number of a scalar.
    ///
    /// # Errors
    /// If there is not exactly one.
    pub fn item(&self) -> Result<f32> {
        match self.host() {
            &[number] => Ok(number),
            _ => Err(misfit(format!("{:?} is not one number", self.shape))),
        }
    }

    /// The transpose of a matrix.
    ///
    /// # Errors
    /// If it is none.
    pub fn transposed(&self) -> Result<Self> {
        let ([rows, columns], numbers) = (self.matrix()?, self.host());
        // tiles of rows and columns stay in the caches
        let turn = |(tile, out): (usize, &mut [f32])| {
            for first in (0..rows).step_by(TILE) {
                for (column, out) in (tile * TILE..).zip(out.chunks_exact_mut(rows)) {
                    for (row, x) in (first..rows).zip(&mut out[first..rows.min(first + TILE)]) {
                        *x = numbers[row * columns + column];
                    }
                }
            }
        };
        let fill = |out: &mut [f32]| out.par_chunks_mut((rows * TILE).max(1)).enumerate().for_each(turn);
        Ok(Self::filled([columns, rows], fill))
    }

    /// Whether no number is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.host().par_chunks(PIECE).all(|piece| piece.iter().all(|number| number.is_finite()))
    }

    /// How many numbers are zero.
    pub fn count_zeros(&self) -> usize {
        self.host().par_chunks(PIECE).map(|piece| piece.iter().filter(|&&number| number == 0.0).count()).sum()
    }
}

impl<T: Element> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.host() == other.host()
    }
}

/// The shape; the numbers are too many.
impl<T: Element> Debug for Tensor<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor{:?}", self.shape)
    }
}

/// An error about shapes that do not fit together.
pub(crate) fn misfit(problem: String) -> Error {
    Error::Shape { problem }
}

#[cfg(test)]
mod tests {
    use super::Tensor;

    #[test]
    fn a_clone_never_sees_a_change() {
        let mut a = Tensor::new([2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = a.clone();
        a.host_mut()[0] = 9.0;
        assert_eq!((a.host()[0], b.host()[0]), (9.0, 1.0));
        let here = a.host().as_ptr();
        a.host_mut()[1] = 8.0;
        assert_eq!(a.host().as_ptr(), here, "what is owned alone is written in place");
    }

    #[test]
    fn rows_are_cut_and_put_together() {
        let a = Tensor::new([3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let parts = [a.rows(0..1).expect("there"), a.rows(1..3).expect("there")];
        assert_eq!(Tensor::stack(&parts).expect("one width"), a);
        assert!(a.rows(2..4).is_err() && a.clone().reshape([4, 2]).is_err());
        assert_eq!(a.reshape([6]).expect("as many").shape(), [6]);
    }

    #[test]
    fn a_transpose_has_rows_for_columns() {
        for [rows, columns] in [[1, 1], [3, 2], [70, 33], [32, 100]] {
            let a = Tensor::new([rows, columns], (0..rows * columns).map(|i| i as f32).collect());
            let turned = a.transposed().expect("a matrix");
            assert_eq!(turned.shape(), [columns, rows]);
            let entry = |i: usize, j: usize| (turned.host()[j * rows + i], a.host()[i * columns + j]);
            assert!((0..rows).all(|i| (0..columns).all(|j| entry(i, j).0.to_bits() == entry(i, j).1.to_bits())));
            assert_eq!(turned.transposed().expect("a matrix"), a);
        }
        assert!(Tensor::zeros([4]).transposed().is_err());
    }

    #[test]
    fn finite_is_said_of_every_number() {
        let mut a = Tensor::zeros([1 << 17]);
        assert!(a.is_finite());
        a.host_mut()[100_000] = f32::NAN;
        assert!(!a.is_finite());
    }

    #[test]
    fn zeros_are_counted_in_every_piece() {
        let mut a = Tensor::zeros([3, 1 << 16]);
        a.host_mut()[1 << 16..].iter_mut().step_by(2).for_each(|number| *number = -1.0);
        a.host_mut()[1] = -0.0;
        assert_eq!(a.count_zeros(), 1 << 17);
    }
}
