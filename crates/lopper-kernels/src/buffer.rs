//! New buffers, written by all threads: a fresh buffer costs as much as the kernel that fills it when one thread clears it.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Elements per parallel task: large enough that starting one costs nothing beside it.
const CHUNK: usize = 128 * 1024;

/// `n` zeros.
pub fn zeros(n: usize) -> Vec<f32> {
    written(n, |chunk, _| {
        chunk.fill(MaybeUninit::new(0.0));
    })
}

/// A copy of `source`.
pub fn copied(source: &[f32]) -> Vec<f32> {
    written(source.len(), |chunk, start| {
        for (new, &old) in chunk.iter_mut().zip(&source[start..]) {
            *new = MaybeUninit::new(old);
        }
    })
}

/// A buffer of `n` elements; `write(chunk, start)` must write every element of its chunk, which begins at `start`.
fn written(n: usize, write: impl Fn(&mut [MaybeUninit<f32>], usize) + Sync) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(n);
    let spare = &mut buffer.spare_capacity_mut()[..n];
    spare.par_chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| write(chunk, index * CHUNK));
    // SAFETY: the capacity is at least n, and both callers above write every element of every chunk.
    unsafe { buffer.set_len(n) };
    buffer
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, copied, zeros};

    #[test]
    fn every_element_is_written() {
        for n in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 7] {
            let source: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(copied(&source), source);
            assert_eq!(zeros(n), vec![0.0; n]);
        }
    }
}
