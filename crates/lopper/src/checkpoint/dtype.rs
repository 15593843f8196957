//! Storage dtypes of weights: f64, f32, f16 and bf16, little endian as in a file, to and from f32 in memory.
//!
//! Widening is exact. Narrowing, also of f64 that is read, rounds to nearest, ties to even (IEEE 754 §4.3.1); values beyond the range of f16
//! become infinite, which [`super::Rewrite::put`] refuses. Work is cut into fixed chunks, so the thread count
//! changes nothing.

use lopper_kernels::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted by one task.
const CHUNK: usize = 1 << 16;
/// 16-bit elements converted at once: the kernels work on slices.
const BLOCK: usize = 4096;

/// A dtype in which weights are stored and that this program can read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageDtype {
    /// IEEE double precision, of which f32 is computed with.
    F64,
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
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Widens stored `bytes` into `values`, exactly; rounds f64.
    ///
    /// # Panics
    /// If `bytes` does not hold as many elements as `values`.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(bytes.len(), values.len() * self.size(), "bytes and values differ in length");
        let tasks = bytes.par_chunks(CHUNK * self.size()).zip(values.par_chunks_mut(CHUNK));
        tasks.for_each(|(bytes, values)| match self {
            Self::F64 => decode_f64(bytes, values),
            Self::F32 => decode_f32(bytes, values),
            Self::F16 => widen(bytes, values, f16_to_f32),
            Self::BF16 => widen(bytes, values, bf16_to_f32),
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
            Self::F64 => encode_f64(values, bytes),
            Self::F32 => encode_f32(values, bytes),
            Self::F16 => narrow(values, bytes, f32_to_f16),
            Self::BF16 => narrow(values, bytes, f32_to_bf16),
        });
    }

    /// Rounds `values` to what can be stored of them: the largest number there is instead of larger ones. Returns how many those were.
    pub fn round(self, values: &mut [f32]) -> usize {
        if matches!(self, Self::F64 | Self::F32) {
            return 0;
        }
        let clamped = self.clamp(values);
        values.par_chunks_mut(CHUNK).for_each(|values| {
            let mut bytes = vec![0; values.len() * self.size()];
            self.encode(values, &mut bytes);
            self.decode(&bytes, values);
        });
        clamped
    }

    /// The largest number of this dtype, and from where on it rounds to infinity, where f32 goes beyond.
    fn end(self) -> Option<(f32, f32)> {
        match self {
            Self::F64 | Self::F32 => None,
            Self::F16 => Some((65504.0, 65520.0)),
            Self::BF16 => Some((f32::from_bits(0x7f7f_0000), f32::from_bits(0x7f7f_8000))),
        }
    }

    /// Whether it has a finite number for each of `values`.
    pub fn holds(self, values: &[f32]) -> bool {
        let Some((_, end)) = self.end() else {
            return values.par_chunks(CHUNK).all(|values| values.iter().all(|value| value.is_finite()));
        };
        values.par_chunks(CHUNK).all(|values| values.iter().all(|value| value.abs() < end))
    }

    /// Takes finite numbers that are beyond the range of this dtype to the end of it. Returns how many those were.
    pub fn clamp(self, values: &mut [f32]) -> usize {
        let Some((largest, end)) = self.end() else { return 0 };
        let beyond = values.iter_mut().filter(|value| value.is_finite() && value.abs() >= end);
        beyond.map(|value| *value = largest.copysign(*value)).count()
    }

    /// Position of the first NaN or infinity among stored `bytes`; of f64 also of what is one in f32.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        let chunks = bytes.par_chunks(CHUNK * self.size()).enumerate();
        chunks.find_map_first(|(chunk, bytes)| {
            let inside = match self {
                Self::F64 => first_beyond_f32(bytes),
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

fn first_beyond_f32(bytes: &[u8]) -> Option<usize> {
    bytes.as_chunks::<8>().0.iter().position(|&stored| !(f64::from_le_bytes(stored) as f32).is_finite())
}

fn decode_f64(bytes: &[u8], values: &mut [f32]) {
    for (value, &stored) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *value = f64::from_le_bytes(stored) as f32;
    }
}

fn encode_f64(values: &[f32], bytes: &mut [u8]) {
    for (stored, value) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(values) {
        *stored = f64::from(*value).to_le_bytes();
    }
}

fn decode_f32(bytes: &[u8], values: &mut [f32]) {
    for (value, &stored) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(stored);
    }
}

fn encode_f32(values: &[f32], bytes: &mut [u8]) {
    for (stored, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *stored = value.to_le_bytes();
    }
}

/// Widens 16-bit elements, a block at a time.
fn widen(bytes: &[u8], values: &mut [f32], kernel: fn(&[u16], &mut [f32])) {
    let mut block = [0; BLOCK];
    for (stored, values) in bytes.as_chunks::<2>().0.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        for (bits, &stored) in block.iter_mut().zip(stored) {
            *bits = u16::from_le_bytes(stored);
        }
        kernel(&block[..values.len()], values);
    }
}

/// Narrows to 16-bit elements, a block at a time.
fn narrow(values: &[f32], bytes: &mut [u8], kernel: fn(&[f32], &mut [u16])) {
    let mut block = [0; BLOCK];
    for (values, stored) in values.chunks(BLOCK).zip(bytes.as_chunks_mut::<2>().0.chunks_mut(BLOCK)) {
        kernel(values, &mut block[..values.len()]);
        for (stored, bits) in stored.iter_mut().zip(block) {
            *stored = bits.to_le_bytes();
        }
    }
}
