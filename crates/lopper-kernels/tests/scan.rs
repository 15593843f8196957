//! The selective scan and the causal convolution against f64 references and their central differences.

use crate::reference;

use lopper_kernels::{
    ConvolutionShape, ScanGradients, ScanInputs, ScanShape, convolution, convolution_backward, selective_scan,
    selective_scan_backward,
};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, offsets, random, slope, to_f64};

/// Channels, states, and lengths of sequences: less than a group, more than one, more than a chunk.
const SHAPES: [(usize, usize, &[usize]); 4] =
    [(1, 1, &[1]), (5, 3, &[7, 1, 4]), (16, 16, &[65]), (35, 4, &[130, 3, 64])];

/// x, s, B, C, a and D, one after the other.
type All<T> = [Vec<T>; 6];

fn inputs(width: usize, states: usize, tokens: usize) -> All<f32> {
    let sizes = [tokens * width, tokens * width, tokens * states, tokens * states, width * states, width];
    let mut seed = 0;
    sizes.map(|size| {
        seed += 1;
        random(size, seed)
    })
}

fn naive([x, s, b, c, a, d]: &All<f64>, width: usize, states: usize, offsets: &[usize]) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for ends in offsets.windows(2) {
        for i in 0..width {
            let mut h = vec![0.0; states];
            for t in ends[0]..ends[1] {
                let (x, delta) = (x[t * width + i], s[t * width + i].exp().ln_1p());
                for n in 0..states {
                    let fall = (-delta * a[i * states + n].exp()).exp();
                    h[n] = fall * h[n] + delta * x * b[t * states + n];
                    y[t * width + i] += h[n] * c[t * states + n];
                }
                y[t * width + i] += d[i] * x;
            }
        }
    }
    y
}

fn shown([x, step, into, out_of, decay, skip]: &All<f32>) -> ScanInputs<'_> {
    ScanInputs { x, step, into, out_of, decay, skip }
}

fn forward(all: &All<f32>, shape: &ScanShape) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut kept) = (vec![f32::NAN; all[0].len()], vec![f32::NAN; shape.kept()]);
    selective_scan(shape, &shown(all), &mut y, &mut kept);
    (y, kept)
}

/// The gradients, started from `start`.
fn backward(all: &All<f32>, shape: &ScanShape, dy: &[f32], start: f32) -> All<f32> {
    let kept = forward(all, shape).1;
    let mut found = all.clone().map(|input| vec![start; input.len()]);
    let [x, step, into, out_of, decay, skip] = &mut found;
    let gradients = ScanGradients { x, step, into, out_of, decay, skip };
    selective_scan_backward(shape, &shown(all), (dy, &kept), gradients);
    found
}

#[test]
fn the_scan_agrees_with_f64() {
    for (width, states, lengths) in SHAPES {
        let offsets = offsets(lengths);
        let shape = ScanShape { width, states, offsets: &offsets };
        let all = inputs(width, states, offsets[lengths.len()]);
        let (y, _) = forward(&all, &shape);
        let wide = all.each_ref().map(|input| to_f64(input));
        // as exact as the sizes of what is added up allow
        let [x, s, b, c, a, d] = wide.clone();
        let [x, b, c, d] = [x, b, c, d].map(|input| input.into_iter().map(f64::abs).collect::<Vec<_>>());
        let sizes = naive(&[x, s, b, c, a, d], width, states, &offsets);
        for ((y, want), size) in y.iter().zip(naive(&wide, width, states, &offsets)).zip(sizes) {
            assert!((f64::from(*y) - want).abs() <= 1e-6 * size, "{y} instead of {want}, of {size}");
        }
        let mut alone = vec![f32::NAN; y.len()];
        selective_scan(&shape, &shown(&all), &mut alone, &mut []);
        assert!(alone == y, "what is kept changes nothing");
    }
}

#[test]
fn the_gradient_of_the_scan_agrees_with_differences_of_f64() {
    for (width, states, lengths) in SHAPES {
        let offsets = offsets(lengths);
        let shape = ScanShape { width, states, offsets: &offsets };
        let all = inputs(width, states, offsets[lengths.len()]);
        let dy = random(all[0].len(), 9);
        let (wide, wide_dy) = (all.each_ref().map(|input| to_f64(input)), to_f64(&dy));
        let found = backward(&all, &shape, &dy, 0.5);
        for (which, gradient) in found.iter().enumerate() {
            for place in (0..gradient.len()).step_by(gradient.len() / 15 + 1) {
                let expected = slope(&wide[which], place, |changed| {
                    let mut all = wide.clone();
                    all[which] = changed.to_vec();
                    inner(&naive(&all, width, states, &offsets), &wide_dy)
                });
                let what = format!("{width}×{states} input {which}[{place}]");
                assert_close(&what, &[gradient[place] - 0.5], &[expected], 2e-5);
            }
        }
    }
}

fn filtered(x: &[f64], weight: &[f64], bias: &[f64], taps: usize, offsets: &[usize]) -> Vec<f64> {
    let width = bias.len();
    let mut y = vec![0.0; x.len()];
    for ends in offsets.windows(2) {
        for t in ends[0]..ends[1] {
            for i in 0..width {
                let reached = (0..taps).filter(|back| ends[0] + back <= t);
                let sum: f64 = reached.map(|back| weight[i * taps + taps - 1 - back] * x[(t - back) * width + i]).sum();
                y[t * width + i] = bias[i] + sum;
            }
        }
    }
    y
}

#[test]
fn the_convolution_and_its_gradient_agree_with_f64() {
    for (width, taps, lengths) in [(1, 1, &[3][..]), (5, 4, &[2, 9]), (35, 3, &[70, 1, 130])] {
        let offsets = offsets(lengths);
        let shape = ConvolutionShape { width, taps, offsets: &offsets };
        let tokens = offsets[lengths.len()];
        let all = [random(tokens * width, 1), random(width * taps, 2), random(width, 3)];
        let wide = all.each_ref().map(|input| to_f64(input));
        let of = |[x, weight, bias]: &[Vec<f64>; 3]| filtered(x, weight, bias, taps, &offsets);
        let [x, weight, bias] = &all;
        let mut y = vec![f32::NAN; x.len()];
        convolution(&shape, x, weight, Some(bias), &mut y);
        assert_close("y", &y, &of(&wide), 1e-6);
        let dy = random(x.len(), 4);
        let mut found = all.clone().map(|input| vec![0.5; input.len()]);
        let [dx, d_weight, d_bias] = &mut found;
        convolution_backward(&shape, (x, weight, &dy), dx, d_weight, d_bias);
        for (which, gradient) in found.iter().enumerate() {
            for place in (0..gradient.len()).step_by(gradient.len() / 15 + 1) {
                let expected = slope(&wide[which], place, |changed| {
                    let mut all = wide.clone();
                    all[which] = changed.to_vec();
                    inner(&of(&all), &to_f64(&dy))
                });
                assert_close(&format!("{width}×{taps} {which}[{place}]"), &[gradient[place] - 0.5], &[expected], 1e-5);
            }
        }
    }
}

#[test]
fn threads_and_tiers_agree() {
    let lengths = [130, 3, 64];
    let offsets = offsets(&lengths);
    let shape = ScanShape { width: 35, states: 4, offsets: &offsets };
    let all = inputs(35, 4, 197);
    let dy = random(all[0].len(), 9);
    let run = || {
        let (y, _) = forward(&all, &shape);
        [vec![y], backward(&all, &shape, &dy, 0.0).to_vec()].concat().concat()
    };
    assert_threads_agree("scan", run);
    assert_tiers_agree("scan", 2e-5, run);
}
