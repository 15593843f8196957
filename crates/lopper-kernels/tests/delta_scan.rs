//! The scan by the delta rule against its recurrence in f64 and central differences of that.

use crate::reference;

use lopper_kernels::{DeltaScanGradients, DeltaScanInputs, DeltaScanShape, delta_scan, delta_scan_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, offsets, random, slope, to_f64};

/// Key heads, width of each, value heads, width of each, and lengths of sequences: single ones, odd ones, more than a chunk, whole chunks.
const SHAPES: [([usize; 4], &[usize]); 4] =
    [([1, 1, 1, 1], &[1]), ([2, 5, 4, 3], &[7, 1, 4]), ([1, 16, 1, 16], &[65]), ([2, 7, 6, 9], &[130, 3, 64, 128])];

/// q, k, v, s, β, a and b, one after the other.
type All<T> = [Vec<T>; 7];

fn shape([key_heads, key_dim, value_heads, value_dim]: [usize; 4], offsets: &[usize]) -> DeltaScanShape<'_> {
    DeltaScanShape { key_heads, key_dim, value_heads, value_dim, offsets }
}

/// Queries and keys about as long as 1, and strengths from 0 to 1, as models have them.
fn inputs(shape: &DeltaScanShape) -> All<f32> {
    let &DeltaScanShape { key_heads, key_dim, value_heads, value_dim, offsets } = shape;
    let tokens = offsets[offsets.len() - 1];
    let (keys, of_heads) = (tokens * key_heads * key_dim, tokens * value_heads);
    let mut seed = 0;
    let mut all = [keys, keys, of_heads * value_dim, of_heads, of_heads, value_heads, value_heads].map(|size| {
        seed += 1;
        random(size, seed)
    });
    let long = 1.0 / (key_dim as f32).sqrt();
    all[..2].iter_mut().flatten().for_each(|x| *x *= long);
    all[4].iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-3.0 * *x).exp()));
    // so that some of the state is left after a chunk
    all[6].iter_mut().for_each(|x| *x -= 3.0);
    all
}

fn naive([q, k, v, s, beta, a, bias]: &All<f64>, shape: &DeltaScanShape) -> Vec<f64> {
    let &DeltaScanShape { key_heads, key_dim: n, value_heads, value_dim: p, offsets } = shape;
    let mut y = vec![0.0; v.len()];
    for ends in offsets.windows(2) {
        for head in 0..value_heads {
            let key_head = head / (value_heads / key_heads);
            let mut state = vec![0.0; n * p];
            for t in ends[0]..ends[1] {
                let of_head = t * value_heads + head;
                let fall = (-(s[of_head] + bias[head]).exp().ln_1p() * a[head].exp()).exp();
                for x in &mut state {
                    *x *= fall;
                }
                let key = &k[(t * key_heads + key_head) * n..][..n];
                let query = &q[(t * key_heads + key_head) * n..][..n];
                for i in 0..p {
                    let column = |x: &[f64], state: &[f64]| (0..n).map(|k| x[k] * state[k * p + i]).sum::<f64>();
                    let change = beta[of_head] * (v[of_head * p + i] - column(key, &state));
                    (0..n).for_each(|k| state[k * p + i] += key[k] * change);
                    y[of_head * p + i] = column(query, &state);
                }
            }
        }
    }
    y
}

fn shown([query, key, value, step, strength, decay, bias]: &All<f32>) -> DeltaScanInputs<'_> {
    DeltaScanInputs { query, key, value, step, strength, decay, bias }
}

fn forward(all: &All<f32>, shape: &DeltaScanShape) -> (Vec<f32>, Vec<f32>) {
    let (mut y, mut kept) = (vec![f32::NAN; all[2].len()], vec![f32::NAN; shape.kept()]);
    delta_scan(shape, &shown(all), &mut y, &mut kept);
    (y, kept)
}

/// The gradients, started from `start`.
fn backward(all: &All<f32>, shape: &DeltaScanShape, dy: &[f32], start: f32) -> All<f32> {
    let kept = forward(all, shape).1;
    let mut found = all.clone().map(|input| vec![start; input.len()]);
    let [query, key, value, step, strength, decay, bias] = &mut found;
    let gradients = DeltaScanGradients { query, key, value, step, strength, decay, bias };
    delta_scan_backward(shape, &shown(all), (dy, &kept), gradients);
    found
}

#[test]
fn agrees_with_f64() {
    for (sizes, lengths) in SHAPES {
        let offsets = offsets(lengths);
        let shape = shape(sizes, &offsets);
        let all = inputs(&shape);
        let wide = all.each_ref().map(|input| to_f64(input));
        assert_close(&format!("{sizes:?}"), &forward(&all, &shape).0, &naive(&wide, &shape), 2e-6);
    }
}

#[test]
fn the_gradient_agrees_with_differences_of_f64() {
    for (sizes, lengths) in SHAPES {
        let offsets = offsets(lengths);
        let shape = shape(sizes, &offsets);
        let all = inputs(&shape);
        let dy = random(all[2].len(), 9);
        let (wide, wide_dy) = (all.each_ref().map(|input| to_f64(input)), to_f64(&dy));
        let found = backward(&all, &shape, &dy, 0.5);
        for (which, gradient) in found.iter().enumerate() {
            for place in (0..gradient.len()).step_by(gradient.len() / 15 + 1) {
                let expected = slope(&wide[which], place, |changed| {
                    let mut all = wide.clone();
                    all[which] = changed.to_vec();
                    inner(&naive(&all, &shape), &wide_dy)
                });
                let what = format!("{sizes:?} input {which}[{place}]");
                assert_close(&what, &[gradient[place] - 0.5], &[expected], 2e-5);
            }
        }
    }
}

#[test]
fn what_is_written_with_full_strength_is_found_again() {
    let shape = shape([1, 4, 1, 3], &[0, 70]);
    let mut all = inputs(&shape);
    // unit keys, strengths of 1, and queries that ask for the key of the token: no rate of decay changes that
    for (t, key) in all[1].chunks_mut(4).enumerate() {
        key.fill(0.0);
        key[t % 4] = 1.0;
    }
    all[0] = all[1].clone();
    all[4].fill(1.0);
    assert_close("values", &forward(&all, &shape).0, &to_f64(&all[2]), 1e-6);
}

#[test]
fn threads_and_tiers_agree() {
    let (sizes, lengths) = SHAPES[3];
    let offsets = offsets(lengths);
    let shape = shape(sizes, &offsets);
    let all = inputs(&shape);
    let dy = random(all[2].len(), 9);
    let run = || {
        let (y, _) = forward(&all, &shape);
        [vec![y], backward(&all, &shape, &dy, 0.0).to_vec()].concat().concat()
    };
    assert_threads_agree("scan by the delta rule", run);
    assert_tiers_agree("scan by the delta rule", 2e-5, run);
}
