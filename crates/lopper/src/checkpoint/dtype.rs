//! Storage dtypes of weights: f32, f16 and bf16, little endian as in a file, to and from f32 in memory.
//!
//! Widening is exact. Narrowing rounds to nearest, ties to even (IEEE 754 §4.3.1); values beyond the range of f16
//! become infinite, which [`super::Rewrite::put`] refuses. Work is cut into fixed chunks, so the thread count
//! changes nothing.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted by one task.
const CHUNK: usize = 1 << 16;
/// f16 elements converted at once: the hardware conversion works on slices.
const BLOCK: usize = 512;

/// A dtype in which weights are stored and that this program can read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageDtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision: 11 bits of significand, at most 65504.
    F16,
    /// The upper half of an f32: 8 bits of significand, the range of f32.
    BF16,
}

impl StorageDtype {
    /// The storage dtype behind a safetensors dtype; none for integers, 8-bit floats and the like.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// As tensors name it.
    pub fn tensor_dtype(self) -> candle_core::DType {
        match self {
            Self::F32 => candle_core::DType::F32,
            Self::F16 => candle_core::DType::F16,
            Self::BF16 => candle_core::DType::BF16,
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Widens stored `bytes` into `values`, exactly.
    ///
    /// # Panics
    /// If `bytes` does not hold as many elements as `values`.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(bytes.len(), values.len() * self.size(), "bytes and values differ in length");
        let tasks = bytes.par_chunks(CHUNK * self.size()).zip(values.par_chunks_mut(CHUNK));
        tasks.for_each(|(bytes, values)| match self {
            Self::F32 => decode_f32(bytes, values),
            Self::F16 => decode_f16(bytes, values),
            Self::BF16 => decode_bf16(bytes, values),
        });
    }

    /// Narrows `values` into stored `bytes`, rounding to nearest even.
    ///
    /// # Panics
    /// If `bytes` does not hold as many elements as `values`.
    pub fn encode(self, values: &[f32], bytes: &mut [u8]) {
        assert_eq!(bytes.len(), values.len() * self.size(), "bytes and values differ in length");
        let tasks = values.par_chunks(CHUNK).zip(bytes.par_chunks_mut(CHUNK * self.size()));
        tasks.for_each(|(values, bytes)| match self {
            Self::F32 => encode_f32(values, bytes),
            Self::F16 => encode_f16(values, bytes),
            Self::BF16 => encode_bf16(values, bytes),
        });
    }

    /// Position of the first NaN or infinity among stored `bytes`.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        let chunks = bytes.par_chunks(CHUNK * self.size()).enumerate();
        chunks.find_map_first(|(chunk, bytes)| {
            let inside = match self {
                Self::F32 => first_full_exponent::<4>(bytes, 0x7f80_0000),
                Self::F16 => first_full_exponent::<2>(bytes, 0x7c00),
                Self::BF16 => first_full_exponent::<2>(bytes, 0x7f80),
            };
            inside.map(|position| chunk * CHUNK + position)
        })
    }
}

/// Position of the first `N`-byte element whose exponent bits, `mask`, are all set: a NaN or an infinity.
fn first_full_exponent<const N: usize>(bytes: &[u8], mask: u32) -> Option<usize> {
    let full = |element: &[u8; N]| {
        let bits = element.iter().rev().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        bits & mask == mask
    };
    let (elements, _) = bytes.as_chunks::<N>();
    // The count without an early exit vectorises; almost always it is zero.
    if elements.iter().filter(|element| full(element)).count() == 0 { None } else { elements.iter().position(full) }
}

fn decode_f32(bytes: &[u8], values: &mut [f32]) {
    for (value, &stored) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(stored);
    }
}

fn decode_bf16(bytes: &[u8], values: &mut [f32]) {
    for (value, &stored) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(stored)) << 16);
    }
}

fn decode_f16(bytes: &[u8], values: &mut [f32]) {
    let mut block = [f16::ZERO; BLOCK];
    for (stored, values) in bytes.as_chunks::<2>().0.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        for (element, &stored) in block.iter_mut().zip(stored) {
            *element = f16::from_le_bytes(stored);
        }
        block[..values.len()].convert_to_f32_slice(values);
    }
}

fn encode_f32(values: &[f32], bytes: &mut [u8]) {
    for (stored, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *stored = value.to_le_bytes();
    }
}

fn encode_bf16(values: &[f32], bytes: &mut [u8]) {
    for (stored, &value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *stored = bf16::from_f32(value).to_le_bytes();
    }
}

fn encode_f16(values: &[f32], bytes: &mut [u8]) {
    let mut block = [f16::ZERO; BLOCK];
    for (values, stored) in values.chunks(BLOCK).zip(bytes.as_chunks_mut::<2>().0.chunks_mut(BLOCK)) {
        block[..values.len()].convert_from_f32_slice(values);
        for (stored, element) in stored.iter_mut().zip(&block) {
            *stored = element.to_le_bytes();
        }
    }
}
