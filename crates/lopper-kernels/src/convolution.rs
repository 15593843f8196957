//! Causal convolution of every channel by itself: y_t = b + Σ_k w_k·x_(t−K+1+k) within each sequence.

use rayon::prelude::*;

use crate::{column_products, column_sums};

/// Rows per parallel task.
const ROWS: usize = 64;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionShape<'a> {
    /// Channels.
    pub width: usize,
    /// Tokens that the filter reaches back, that at hand included.
    pub taps: usize,
    /// Where each sequence starts among the tokens, and the number of tokens.
    pub offsets: &'a [usize],
}

impl ConvolutionShape<'_> {
    /// Of every token, where its sequence starts, and where it ends.
    fn spans(&self) -> Vec<(usize, usize)> {
        self.offsets.windows(2).flat_map(|ends| std::iter::repeat_n((ends[0], ends[1]), ends[1] - ends[0])).collect()
    }

    /// The filter tap by tap [taps, width].
    fn turned(&self, weight: &[f32]) -> Vec<f32> {
        (0..self.taps).flat_map(|tap| weight.iter().skip(tap).step_by(self.taps)).copied().collect()
    }

    fn check(&self, x: &[f32], weight: &[f32]) {
        assert_eq!(x.len(), self.offsets.last().copied().unwrap_or(0) * self.width, "a row for every token");
        assert_eq!(weight.len(), self.width * self.taps, "a filter for every channel");
    }
}

/// x [tokens, width], weight [width, taps], bias `[width]` → y [tokens, width].
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn convolution(shape: &ConvolutionShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    shape.check(x, weight);
    let (width, taps, spans, weight) = (shape.width, shape.taps, shape.spans(), shape.turned(weight));
    y.par_chunks_mut(width).with_min_len(ROWS).enumerate().for_each(|(token, y)| {
        match bias {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        for tap in 0..taps {
            let Some(from) = (token + tap + 1).checked_sub(taps).filter(|from| *from >= spans[token].0) else {
                continue;
            };
            let (x, weight) = (&x[from * width..][..width], &weight[tap * width..][..width]);
            y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y += x * w);
        }
    });
}

/// Adds the gradients of x [tokens, width], of the weight [width, taps] and of the bias `[width]`, of a convolution whose output has the
/// gradient `dy` [tokens, width].
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn convolution_backward(
    shape: &ConvolutionShape,
    (x, weight, dy): (&[f32], &[f32], &[f32]),
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    shape.check(x, weight);
    shape.check(dy, weight);
    let (width, taps, spans, weight) = (shape.width, shape.taps, shape.spans(), shape.turned(weight));
    dx.par_chunks_mut(width).with_min_len(ROWS).enumerate().for_each(|(token, dx)| {
        for tap in 0..taps {
            let to = token + taps - 1 - tap;
            if to >= spans[token].1 {
                continue;
            }
            let (dy, weight) = (&dy[to * width..][..width], &weight[tap * width..][..width]);
            dx.iter_mut().zip(dy).zip(weight).for_each(|((dx, dy), w)| *dx += dy * w);
        }
    });
    column_sums(dy, d_bias);
    let mut sums = vec![0.0; taps * width];
    for ends in shape.offsets.windows(2) {
        for (tap, sums) in sums.chunks_mut(width).enumerate() {
            // so many tokens lie between what is read and what it is added to
            let back = (taps - 1 - tap).min(ends[1] - ends[0]);
            let (from, to) = (ends[0]..ends[1] - back, ends[0] + back..ends[1]);
            let rows = |rows: std::ops::Range<usize>| rows.start * width..rows.end * width;
            column_products(&x[rows(from)], &dy[rows(to)], sums);
        }
    }
    for (channel, d_weight) in d_weight.chunks_mut(taps).enumerate() {
        d_weight.iter_mut().zip(sums.iter().skip(channel).step_by(width)).for_each(|(d, sum)| *d += sum);
    }
}
