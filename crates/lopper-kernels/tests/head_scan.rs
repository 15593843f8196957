//! The scan by heads against its recurrence in f64 and central differences of that.

use crate::reference;

use lopper_kernels::{HeadScanGradients, HeadScanInputs, HeadScanShape, head_scan, head_scan_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, offsets, random, slope, to_f64};

/// Heads, channels of each, groups, states, and lengths of sequences: single ones, odd ones, more than a chunk, whole chunks.
const SHAPES: [([usize; 4], &[usize]); 4] =
    [([1, 1, 1, 1], &[1]), ([4, 5, 2, 3], &[7, 1, 4]), ([6, 16, 1, 16], &[65]), ([6, 7, 3, 9], &[130, 3, 64, 128])];
/// Within reach of the steps, so that some are at a limit.
const LIMITS: [f32; 2] = [0.5, 1.1];
const FREE: [f32; 2] = [0.0, f32::INFINITY];

/// x, s, B, C, a, D and b, one after the other.
type All<T> = [Vec<T>; 7];

fn shape([heads, head_dim, groups, states]: [usize; 4], offsets: &[usize]) -> HeadScanShape<'_> {
    HeadScanShape { heads, head_dim, groups, states, offsets }
}

fn inputs(shape: &HeadScanShape) -> All<f32> {
    let &HeadScanShape { heads, head_dim, groups, states, offsets } = shape;
    let tokens = offsets[offsets.len() - 1];
    let ways = tokens * groups * states;
    let mut seed = 0;
    [tokens * heads * head_dim, tokens * heads, ways, ways, heads, heads, heads].map(|size| {
        seed += 1;
        random(size, seed)
    })
}

fn naive([x, s, b, c, a, d, bias]: &All<f64>, shape: &HeadScanShape, limits: [f32; 2]) -> Vec<f64> {
    let &HeadScanShape { heads, head_dim: p, groups, states: n, offsets } = shape;
    let mut y = vec![0.0; x.len()];
    for ends in offsets.windows(2) {
        for head in 0..heads {
            let group = head / (heads / groups);
            let mut h = vec![0.0; n * p];
            for t in ends[0]..ends[1] {
                let free = (s[t * heads + head] + bias[head]).exp().ln_1p();
                let delta = free.clamp(f64::from(limits[0]), f64::from(limits[1]));
                let fall = (-delta * a[head].exp()).exp();
                for i in 0..p {
                    let at = (t * heads + head) * p + i;
                    for k in 0..n {
                        let way = (t * groups + group) * n + k;
                        h[k * p + i] = fall * h[k * p + i] + delta * x[at] * b[way];
                        y[at] += h[k * p + i] * c[way];
                    }
                    y[at] += d[head] * x[at];
                }
            }
        }
    }
    y
}

fn shown([x, step, into, out_of, decay, skip, bias]: &All<f32>, limits: [f32; 2]) -> HeadScanInputs<'_> {
    HeadScanInputs { x, step, into, out_of, decay, skip, bias, limits }
}

fn forward(all: &All<f32>, shape: &HeadScanShape, limits: [f32; 2]) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut kept) = (vec![f32::NAN; all[0].len()], vec![f32::NAN; shape.kept()]);
    head_scan(shape, &shown(all, limits), &mut y, &mut kept);
    (y, kept)
}

/// The gradients, started from `start`.
fn backward(all: &All<f32>, shape: &HeadScanShape, limits: [f32; 2], dy: &[f32], start: f32) -> All<f32> {
    let kept = forward(all, shape, limits).1;
    let mut found = all.clone().map(|input| vec![start; input.len()]);
    let [x, step, into, out_of, decay, skip, bias] = &mut found;
    let gradients = HeadScanGradients { x, step, into, out_of, decay, skip, bias };
    head_scan_backward(shape, &shown(all, limits), (dy, &kept), gradients);
    found
}

#[test]
fn agrees_with_f64() {
    for (sizes, lengths) in SHAPES {
        for limits in [FREE, LIMITS] {
            let offsets = offsets(lengths);
            let shape = shape(sizes, &offsets);
            let all = inputs(&shape);
            let (y, _) = forward(&all, &shape, limits);
            let wide = all.each_ref().map(|input| to_f64(input));
            // as exact as the sizes of what is added up allow
            let [x, s, b, c, a, d, bias] = wide.clone();
            let [x, b, c, d] = [x, b, c, d].map(|input| input.into_iter().map(f64::abs).collect::<Vec<_>>());
            let sizes = naive(&[x, s, b, c, a, d, bias], &shape, limits);
            for ((y, want), size) in y.iter().zip(naive(&wide, &shape, limits)).zip(sizes) {
                assert!((f64::from(*y) - want).abs() <= 2e-6 * size, "{y} instead of {want}, of {size}");
            }
        }
    }
}

#[test]
fn the_gradient_agrees_with_differences_of_f64() {
    for (sizes, lengths) in SHAPES {
        for limits in [FREE, LIMITS] {
            let offsets = offsets(lengths);
            let shape = shape(sizes, &offsets);
            let all = inputs(&shape);
            let dy = random(all[0].len(), 9);
            let (wide, wide_dy) = (all.each_ref().map(|input| to_f64(input)), to_f64(&dy));
            let found = backward(&all, &shape, limits, &dy, 0.5);
            for (which, gradient) in found.iter().enumerate() {
                for place in (0..gradient.len()).step_by(gradient.len() / 15 + 1) {
                    let expected = slope(&wide[which], place, |changed| {
                        let mut all = wide.clone();
                        all[which] = changed.to_vec();
                        inner(&naive(&all, &shape, limits), &wide_dy)
                    });
                    let what = format!("{sizes:?} {limits:?} input {which}[{place}]");
                    assert_close(&what, &[gradient[place] - 0.5], &[expected], 2e-5);
                }
            }
        }
    }
}

#[test]
fn threads_and_tiers_agree() {
    let (sizes, lengths) = SHAPES[3];
    let offsets = offsets(lengths);
    let shape = shape(sizes, &offsets);
    let all = inputs(&shape);
    let dy = random(all[0].len(), 9);
    let run = || {
        let (y, _) = forward(&all, &shape, LIMITS);
        [vec![y], backward(&all, &shape, LIMITS, &dy, 0.0).to_vec()].concat().concat()
    };
    assert_threads_agree("scan by heads", run);
    assert_tiers_agree("scan by heads", 2e-5, run);
}
