//! Attention against a naive f64 reference, and its gradient against central differences of that reference.

use crate::reference;

use lopper_kernels::{AttentionShape, attention, attention_backward, attention_sinks_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, random, slope, to_f64};

/// (output, log-sum-exp) in f64.
fn naive(shape: &AttentionShape, [q, k, v, sinks]: [&[f64]; 4]) -> (Vec<f64>, Vec<f64>) {
    let (d, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let (mut out, mut saved) = (vec![0.0; q.len()], vec![0.0; q.len() / d]);
    for pair in shape.offsets.windows(2) {
        for t in pair[0]..pair[1] {
            let first = shape.window.map_or(pair[0], |window| pair[0].max((t + 1).saturating_sub(window)));
            for head in 0..shape.heads {
                let entry = t * shape.heads + head;
                let key = |s: usize| (s * shape.kv_heads + head / group) * d;
                let query = &q[entry * d..][..d];
                let slope = shape.slopes.get(head).map_or(0.0, |&slope| f64::from(slope));
                let scores = (first..=t).map(|s| {
                    let score = f64::from(shape.scale) * inner(query, &k[key(s)..][..d]);
                    let capped = shape.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                    capped - slope * (t - s) as f64
                });
                let scores: Vec<f64> = scores.collect();
                let all = || scores.iter().chain(sinks.get(head));
                let largest = all().copied().fold(f64::MIN, f64::max);
                let sum: f64 = all().map(|score| (score - largest).exp()).sum();
                saved[entry] = largest + sum.ln();
                for (s, score) in (first..=t).zip(scores) {
                    let p = (score - saved[entry]).exp();
                    (0..d).for_each(|i| out[entry * d + i] += p * v[key(s) + i]);
                }
            }
        }
    }
    (out, saved)
}

struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_out: Vec<f32>,
}

impl Inputs {
    /// In f64, with the sinks.
    fn operands(&self, shape: &AttentionShape) -> [Vec<f64>; 4] {
        [&self.q[..], &self.k, &self.v, shape.sinks].map(to_f64)
    }
}

fn inputs(shape: &AttentionShape) -> Inputs {
    let tokens = shape.offsets[shape.offsets.len() - 1];
    let (wide, narrow) = (tokens * shape.heads * shape.head_dim, tokens * shape.kv_heads * shape.head_dim);
    Inputs { q: random(wide, 1), k: random(narrow, 2), v: random(narrow, 3), d_out: random(wide, 4) }
}

fn forward(shape: &AttentionShape, x: &Inputs) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut saved) = (vec![f32::NAN; x.q.len()], vec![f32::NAN; x.q.len() / shape.head_dim]);
    attention(shape, &x.q, &x.k, &x.v, &mut out, &mut saved);
    (out, saved)
}

fn backward(shape: &AttentionShape, x: &Inputs) -> [Vec<f32>; 4] {
    let (out, saved) = forward(shape, x);
    let (mut dq, mut dk, mut dv) = (vec![f32::NAN; x.q.len()], vec![f32::NAN; x.k.len()], vec![f32::NAN; x.k.len()]);
    attention_backward(shape, &x.q, &x.k, &x.v, &out, &saved, &x.d_out, &mut dq, &mut dk, &mut dv);
    let mut d_sinks = vec![f32::NAN; shape.sinks.len()];
    if !d_sinks.is_empty() {
        attention_sinks_backward(shape, &out, &saved, &x.d_out, &mut d_sinks);
    }
    [dq, dk, dv, d_sinks]
}

/// One sequence of one token in heads of one number.
const PLAIN: AttentionShape = AttentionShape {
    offsets: &[0, 1],
    heads: 1,
    kv_heads: 1,
    head_dim: 1,
    scale: 1.0,
    window: None,
    soft_cap: None,
    slopes: &[],
    sinks: &[],
};

const RAGGED: &[usize] = &[0, 1, 1, 6, 55, 185];

/// Ragged batches with every kind of head width, grouping and window.
fn shapes() -> Vec<AttentionShape<'static>> {
    let shape = |heads, kv_heads, head_dim: usize, window, offsets| AttentionShape {
        offsets,
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        window,
        soft_cap: None,
        slopes: &[],
        sinks: &[],
    };
    vec![
        shape(1, 1, 1, None, RAGGED),
        shape(2, 1, 5, None, RAGGED),
        shape(3, 3, 8, Some(1), RAGGED),
        shape(4, 2, 17, Some(7), RAGGED),
        shape(2, 1, 33, Some(64), RAGGED),
        shape(6, 2, 64, None, RAGGED),
        shape(2, 2, 80, Some(70), RAGGED),
        shape(2, 1, 96, None, &[0, 130]),
        shape(2, 1, 128, Some(1000), &[0, 3, 100]),
        shape(1, 1, 256, None, &[0, 65, 129]),
        // several blocks of keys, and windows that start inside one
        shape(1, 1, 4, Some(3), &[0, 300]),
        shape(2, 1, 6, None, &[0, 10, 1100]),
        shape(1, 1, 16, Some(530), &[0, 1200]),
        AttentionShape { slopes: &[0.7, 0.1, 0.02, 0.0], ..shape(4, 2, 12, None, RAGGED) },
        AttentionShape { slopes: &[0.01], ..shape(1, 1, 8, None, &[0, 10, 1100]) },
        AttentionShape { slopes: &[0.3, 0.1], ..shape(2, 2, 6, Some(70), &[0, 300]) },
        AttentionShape { soft_cap: Some(0.5), ..shape(4, 2, 12, None, RAGGED) },
        AttentionShape { soft_cap: Some(50.0), ..shape(2, 1, 33, Some(64), &[0, 700]) },
        AttentionShape { soft_cap: Some(2.0), slopes: &[0.3, 0.1], ..shape(2, 1, 16, Some(600), &[0, 5, 905]) },
        AttentionShape { sinks: &[-9.0, 0.3, 1.5, 12.0], ..shape(4, 2, 12, None, RAGGED) },
        AttentionShape { sinks: &[2.0, -1.0], ..shape(2, 1, 8, Some(70), &[0, 10, 1100]) },
        AttentionShape { sinks: &[0.4, 3.0], slopes: &[0.3, 0.1], ..shape(2, 2, 6, None, &[0, 300]) },
        AttentionShape { sinks: &[0.4, 3.0], soft_cap: Some(2.0), ..shape(2, 1, 16, Some(600), &[0, 5, 905]) },
        shape(1, 1, 4, None, &[0]),
        shape(1, 1, 4, None, &[0, 0]),
    ]
}

#[test]
fn forward_agrees_with_f64() {
    for shape in shapes() {
        let x = inputs(&shape);
        let (out, saved) = forward(&shape, &x);
        let (expected, expected_saved) = naive(&shape, x.operands(&shape).each_ref().map(Vec::as_slice));
        assert_close(&format!("{shape:?} out"), &out, &expected, 2e-6);
        assert_close(&format!("{shape:?} log_sum_exp"), &saved, &expected_saved, 1e-6);
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    for shape in shapes() {
        let x = inputs(&shape);
        let gradients = backward(&shape, &x);
        let operands = x.operands(&shape);
        let d_out = to_f64(&x.d_out);
        for (which, gradient) in gradients.iter().enumerate() {
            assert!(gradient.iter().all(|x| x.is_finite()), "{shape:?}: gradient {which} was not all written");
            // an even sample over sequences, heads and entries, smaller where the reference is slow
            let sample = if shape.offsets.last() > Some(&500) { 4 } else { 12 };
            for i in (0..gradient.len()).step_by(gradient.len() / sample + 1) {
                let expected = slope(&operands[which], i, |moved| {
                    let mut all = operands.each_ref().map(Vec::as_slice);
                    all[which] = moved;
                    inner(&naive(&shape, all).0, &d_out)
                });
                assert_close(&format!("{shape:?} gradient {which} at {i}"), &gradient[i..=i], &[expected], 1e-5);
            }
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let shape = AttentionShape { offsets: &[0, 70], head_dim: 16, scale: 30.0, ..PLAIN };
    let x = inputs(&shape);
    let (out, saved) = forward(&shape, &x);
    let (expected, expected_saved) = naive(&shape, x.operands(&shape).each_ref().map(Vec::as_slice));
    assert_close("out", &out, &expected, 1e-4);
    // the error of an f32 score, times 30
    assert_close("log_sum_exp", &saved, &expected_saved, 1e-5);
}

#[test]
fn sinks_of_any_size_do_not_overflow() {
    for sinks in [&[1e30][..], &[-1e30], &[f32::MAX], &[f32::MIN]] {
        let shape = AttentionShape { offsets: &[0, 70], head_dim: 16, scale: 0.25, sinks, ..PLAIN };
        let x = inputs(&shape);
        let [plain, sunk] = [&[][..], sinks].map(|sinks| AttentionShape { sinks, ..shape });
        let ((without, _), (out, _)) = (forward(&plain, &x), forward(&sunk, &x));
        let expected = if sinks[0] > 0.0 { vec![0.0; out.len()] } else { to_f64(&without) };
        assert_close(&format!("{sinks:?}"), &out, &expected, 1e-6);
        assert!(backward(&sunk, &x).concat().iter().all(|x| x.is_finite()), "{sinks:?}");
    }
}

#[test]
fn tiers_agree() {
    for shape in shapes() {
        let x = inputs(&shape);
        assert_tiers_agree(&format!("{shape:?} forward"), 4e-6, || {
            let (out, saved) = forward(&shape, &x);
            [out, saved].concat()
        });
        assert_tiers_agree(&format!("{shape:?} backward"), 1e-5, || backward(&shape, &x).concat());
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for shape in shapes() {
        let x = inputs(&shape);
        assert_threads_agree(&format!("{shape:?}"), || {
            let (out, saved) = forward(&shape, &x);
            [&[out, saved][..], &backward(&shape, &x)].concat().concat()
        });
    }
}

#[test]
#[should_panic(expected = "sinks are not [heads]")]
fn sinks_of_other_heads_panic() {
    let shape = AttentionShape { sinks: &[0.0; 2], ..PLAIN };
    attention(&shape, &[0.0], &[0.0], &[0.0], &mut [0.0], &mut [0.0]);
}

#[test]
#[should_panic(expected = "kv_heads must divide heads")]
fn heads_that_do_not_group_panic() {
    let shape = AttentionShape { heads: 3, kv_heads: 2, ..PLAIN };
    attention(&shape, &[0.0; 3], &[0.0; 2], &[0.0; 2], &mut [0.0; 3], &mut [0.0; 3]);
}
