//! Borrowing the numbers of contiguous f32 tensors on the CPU as slices.

use std::cell::Cell;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// Lends the data of `N` contiguous f32 CPU tensors to `f`.
///
/// # Errors
/// If a tensor is on another device, not f32, or not contiguous.
pub fn read<const N: usize, R>(tensors: [&Tensor; N], f: impl FnOnce([&[f32]; N]) -> R) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let (Storage::Cpu(CpuStorage::F32(data)), Some((start, end))) = (&**storage, layout.contiguous_offsets())
        else {
            bail!("a fused kernel needs contiguous f32 tensors on the CPU, got {layout:?}");
        };
        *slice = &data[start..end];
    }
    Ok(f(slices))
}

/// Lends the data of a contiguous f32 CPU tensor to `f` for writing; every clone of the tensor sees the change.
///
/// # Errors
/// If the tensor is on another device, not f32, or not contiguous.
pub fn write<R>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let op = Write { f: Cell::new(Some(f)), result: Cell::new(None) };
    tensor.inplace_op1(&op)?;
    op.result.take().map_or_else(|| bail!("in-place write did not run"), Ok)
}

struct Write<F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<R, F: FnOnce(&mut [f32]) -> R> InplaceOp1 for Write<F, R> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(data), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("a fused kernel needs a contiguous f32 tensor to write to, got {layout:?}");
        };
        self.result.set(self.f.take().map(|f| f(&mut data[start..end])));
        Ok(())
    }
}

/// A new CPU tensor whose data `f` writes (the buffer it is given holds zeros).
///
/// # Errors
/// None in practice: the buffer has the shape's length.
pub fn fill(shape: impl Into<Shape>, f: impl FnOnce(&mut [f32])) -> Result<Tensor> {
    let shape = shape.into();
    let mut data = lopper_kernels::zeros(shape.elem_count());
    f(&mut data);
    Tensor::from_vec(data, shape, &Device::Cpu)
}
