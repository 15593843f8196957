//! Layer normalisation against an f64 reference and its central differences.
#![allow(clippy::float_cmp, reason = "an overwritten gradient is the same to the bit")]

use crate::reference;

use lopper_kernels::{layer_norm, layer_norm_backward};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, inner, random, slope, to_f64};

const EPS: f32 = 1e-5;
const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 2), (1, 300), (2, 15), (3, 16), (5, 129), (40, 33), (70, 576)];
/// Whether there are a weight and a bias.
const AFFINE: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

/// `(mean, inverse)` of a row, in two passes.
fn naive_moments(row: &[f64]) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    (mean, 1.0 / (variance + f64::from(EPS)).sqrt())
}

fn naive(x: &[f64], weight: Option<&[f64]>, bias: Option<&[f64]>, n: usize) -> Vec<f64> {
    let normalise = |row: &[f64]| -> Vec<f64> {
        let (mean, inverse) = naive_moments(row);
        let entry =
            |(i, x): (usize, &f64)| (x - mean) * inverse * weight.map_or(1.0, |w| w[i]) + bias.map_or(0.0, |b| b[i]);
        row.iter().enumerate().map(entry).collect()
    };
    x.chunks(n).flat_map(normalise).collect()
}

/// One problem: `weight` and `bias` where there are any.
struct Case {
    x: Vec<f32>,
    weight: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
    d_out: Vec<f32>,
    n: usize,
}

impl Case {
    fn new((rows, n): (usize, usize), (weight, bias): (bool, bool)) -> Self {
        let (weight, bias) = (weight.then(|| random(n, 2)), bias.then(|| random(n, 3)));
        Self { x: random(rows * n, 1), weight, bias, d_out: random(rows * n, 4), n }
    }

    fn all() -> impl Iterator<Item = Self> {
        SHAPES.into_iter().flat_map(|shape| AFFINE.map(|affine| Self::new(shape, affine)))
    }

    fn name(&self) -> String {
        let (rows, weight, bias) = (self.x.len() / self.n, self.weight.is_some(), self.bias.is_some());
        format!("{rows}×{} with weight {weight}, bias {bias}", self.n)
    }

    /// `[out, mean, inverse]`.
    fn forward(&self) -> [Vec<f32>; 3] {
        let [mut mean, mut inverse] = [0; 2].map(|_| vec![f32::NAN; self.x.len() / self.n]);
        let mut out = vec![f32::NAN; self.x.len()];
        let (weight, bias) = (self.weight.as_deref(), self.bias.as_deref());
        layer_norm(&self.x, weight, bias, self.n, EPS, &mut out, &mut mean, &mut inverse);
        [out, mean, inverse]
    }

    /// `[dx, d_weight, d_bias]`, each started from `start`; those of an absent weight or bias too, as nothing forbids it.
    fn backward(&self, start: f32, accumulate: bool) -> [Vec<f32>; 3] {
        let [_, mean, inverse] = self.forward();
        let [mut dx, mut d_weight, mut d_bias] = [self.x.len(), self.n, self.n].map(|length| vec![start; length]);
        let gradients = (Some(&mut dx[..]), Some(&mut d_weight[..]), Some(&mut d_bias[..]));
        let (x, weight) = (&self.x, self.weight.as_deref());
        layer_norm_backward(
            &self.d_out,
            x,
            weight,
            &mean,
            &inverse,
            self.n,
            gradients.0,
            accumulate,
            gradients.1,
            gradients.2,
        );
        [dx, d_weight, d_bias]
    }

    /// The output in f64 from other inputs, weights and biases.
    fn naive(&self, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        naive(x, Some(weight), Some(bias), self.n)
    }

    /// `[x, weight, bias]` in f64, with ones and zeros for what is absent.
    fn wide(&self) -> [Vec<f64>; 3] {
        let or = |given: &Option<Vec<f32>>, all| given.as_deref().map_or(vec![all; self.n], to_f64);
        [to_f64(&self.x), or(&self.weight, 1.0), or(&self.bias, 0.0)]
    }
}

#[test]
fn forward_agrees_with_f64() {
    for case in Case::all() {
        let ([out, mean, inverse], [x, ..]) = (case.forward(), case.wide());
        let (weight, bias) = (case.weight.as_deref().map(to_f64), case.bias.as_deref().map(to_f64));
        assert_close(&case.name(), &out, &naive(&x, weight.as_deref(), bias.as_deref(), case.n), 5e-7);
        for ((row, mean), inverse) in x.chunks(case.n).zip(mean).zip(inverse) {
            let expected = naive_moments(row);
            assert_close("mean", &[mean], &[expected.0], 1e-7);
            assert_close("inverse", &[inverse], &[expected.1], 1e-7);
        }
    }
}

#[test]
fn a_large_mean_costs_no_digits() {
    // the deviations are about one, and the inputs next to the mean are spaced by up to a third of that
    for mean in [1e3, -3e4, 1e6, 4e6] {
        let mut case = Case::new((4, 1000), (true, true));
        case.x.iter_mut().for_each(|x| *x += mean);
        let [x, weight, bias] = case.wide();
        assert_close(&format!("mean {mean}"), &case.forward()[0], &case.naive(&x, &weight, &bias), 6e-7);
    }
}

#[test]
fn constant_rows_become_the_bias() {
    for value in [0.0, 1.0, -3.3, 7e6] {
        let mut case = Case::new((2, 77), (true, true));
        case.x.fill(value);
        let [out, mean, inverse] = case.forward();
        assert_eq!(out, [case.bias.clone(), case.bias].map(Option::unwrap_or_default).concat(), "of {value}");
        assert_eq!((mean, inverse), (vec![value; 2], vec![EPS.sqrt().recip(); 2]));
    }
}

#[test]
fn backward_agrees_with_differences_of_f64() {
    for case in Case::all() {
        let ([dx, d_weight, d_bias], [x, weight, bias], name) = (case.backward(0.0, false), case.wide(), case.name());
        let d_out = to_f64(&case.d_out);
        for i in (0..x.len()).step_by(x.len() / 40 + 1) {
            let expected = slope(&x, i, |x| inner(&case.naive(x, &weight, &bias), &d_out));
            assert_close(&format!("{name} dx[{i}]"), &dx[i..=i], &[expected], 2e-6);
        }
        for i in (0..case.n).step_by(case.n / 20 + 1) {
            let of_weight = slope(&weight, i, |weight| inner(&case.naive(&x, weight, &bias), &d_out));
            let of_bias = slope(&bias, i, |bias| inner(&case.naive(&x, &weight, bias), &d_out));
            assert_close(&format!("{name} d_weight[{i}]"), &d_weight[i..=i], &[of_weight], 2e-6);
            assert_close(&format!("{name} d_bias[{i}]"), &d_bias[i..=i], &[of_bias], 2e-6);
        }
    }
}

#[test]
fn gradients_are_added_where_asked() {
    let case = Case::new((6, 20), (true, true));
    let [dx, d_weight, d_bias] = case.backward(0.0, false);
    let plus_five = |x: &[f32]| x.iter().map(|x| f64::from(*x) + 5.0).collect::<Vec<_>>();
    let [added, added_weight, added_bias] = case.backward(5.0, true);
    assert_close("dx added", &added, &plus_five(&dx), 5e-7);
    assert_close("d_weight is always added", &added_weight, &plus_five(&d_weight), 5e-7);
    assert_close("d_bias is always added", &added_bias, &plus_five(&d_bias), 5e-7);
    assert_eq!(case.backward(5.0, false)[0], dx, "dx overwritten");
}

#[test]
fn a_gradient_alone_is_the_same_as_with_the_others() {
    let case = Case::new((9, 150), (true, true));
    let ([_, mean, inverse], expected) = (case.forward(), case.backward(0.25, true));
    let (d_out, x, weight, n) = (&case.d_out, &case.x, case.weight.as_deref(), case.n);
    let [mut dx, mut d_weight, mut d_bias] = [x.len(), n, n].map(|length| vec![0.25; length]);
    layer_norm_backward(d_out, x, weight, &mean, &inverse, n, Some(&mut dx), true, None, None);
    layer_norm_backward(d_out, x, weight, &mean, &inverse, n, None, true, Some(&mut d_weight), None);
    layer_norm_backward(d_out, x, weight, &mean, &inverse, n, None, true, None, Some(&mut d_bias));
    assert_eq!([dx, d_weight, d_bias], expected);
}

#[test]
fn tiers_and_threads_agree() {
    for case in Case::all() {
        let all = || [case.forward(), case.backward(0.5, true)].concat().concat();
        assert_tiers_agree(&case.name(), 3e-6, all);
        assert_threads_agree(&case.name(), all);
    }
}

#[test]
fn no_rows_and_no_columns_are_nothing() {
    layer_norm(&[], Some(&[1.0; 3]), None, 3, EPS, &mut [], &mut [], &mut []);
    layer_norm(&[], None, None, 0, EPS, &mut [], &mut [1.0], &mut [1.0]);
    layer_norm_backward(&[], &[], None, &[], &[], 0, Some(&mut []), false, Some(&mut []), Some(&mut []));
}

#[test]
#[should_panic(expected = "layer_norm: 5 elements are not whole rows of 2")]
fn rows_that_are_not_whole_panic() {
    layer_norm(&[0.0; 5], None, None, 2, EPS, &mut [0.0; 5], &mut [0.0; 2], &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "layer_norm: weight and bias need n entries")]
fn a_bias_of_another_length_panics() {
    layer_norm(&[0.0; 4], None, Some(&[0.0; 3]), 2, EPS, &mut [0.0; 4], &mut [0.0; 2], &mut [0.0; 2]);
}
