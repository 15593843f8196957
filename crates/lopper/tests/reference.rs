//! candle as the reference: every op, forward and backward, beside the same function composed of candle's ops in f64, with candle's
//! own autograd. Shapes are awkward on purpose: odd widths, a single token, ragged sequences.

use crate::golden;
use crate::gradient;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor as Candle, Var};
use golden::assert_close;
use gradient::{Op, both_ways};
use lopper::autograd::{AdapterForm, AttentionLayout, RotaryTable, Tape, Value};
use lopper::model::{RotaryScaling, RotarySpec, Sequences};
use lopper::sparsity::Mask;
use lopper::tensor::Tensor;
use lopper_kernels::{Activation, ClampedGate, RotaryPairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Lengths of the sequences of a batch.
const BATCHES: [&[usize]; 4] = [&[1], &[1, 5, 2], &[17, 1, 33], &[70]];
const EPSILON: f32 = 1e-5;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    Tensor::filled(shape, |numbers| numbers.iter_mut().for_each(|x| *x = generator.random_range(-2.0..2.0)))
}

fn to_candle(tensor: &Tensor) -> Result<Candle> {
    Candle::from_slice(tensor.host(), tensor.shape(), &Device::Cpu)?.to_dtype(DType::F64)
}

fn from_candle(tensor: &Candle) -> Result<Tensor> {
    let numbers = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(Tensor::new(tensor.dims(), numbers))
}

/// The function composed of candle's ops.
type Composed<'a> = &'a dyn Fn(&[Candle]) -> Result<Candle>;

/// Output and gradients of `op` on random inputs of these shapes must be those of the composed function.
fn check(what: &str, shapes: &[&[usize]], op: Op, composed: Composed) {
    let inputs: Vec<Tensor> = shapes.iter().enumerate().map(|(seed, shape)| random(shape, seed as u64)).collect();
    let reference = || -> Result<(Tensor, Tensor, Vec<Tensor>)> {
        let variables: Vec<Var> =
            inputs.iter().map(|input| Var::from_tensor(&to_candle(input)?)).collect::<Result<_>>()?;
        let tensors: Vec<Candle> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let y = composed(&tensors)?;
        let upstream = random(y.dims(), 99);
        let gradients = (&y * to_candle(&upstream)?)?.sum_all()?.backward()?;
        let of = tensors.iter().map(|tensor| from_candle(gradients.get(tensor).expect("a gradient")));
        Ok((from_candle(&y)?, upstream, of.collect::<Result<_>>()?))
    };
    let (want, upstream, of) = reference().unwrap_or_else(|error| panic!("{what} in candle: {error}"));
    let (y, gradients) = both_ways(&inputs, &upstream, op);
    assert_eq!(y.shape(), want.shape(), "{what}");
    assert_close(&y, &want, 1e-5, what);
    let largest = of.iter().map(norm).fold(0.0, f64::max);
    for (place, (gradient, want)) in gradients.iter().zip(&of).enumerate() {
        let what = format!("{what}, gradient of input {place}");
        if norm(want) > 1e-6 * largest {
            assert_close(gradient, want, 2e-5, &what);
        } else {
            // a query that sees one key: its scores cannot matter
            assert!(norm(gradient) < 1e-5 * largest, "{what}: {:.1e} of {largest:.1e}", norm(gradient));
        }
    }
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.host().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Tokens, d_in and d_out.
const LINEARS: [[usize; 3]; 5] = [[1, 1, 1], [1, 37, 5], [7, 33, 65], [130, 17, 3], [19, 129, 257]];

#[test]
fn linear() {
    for [tokens, d_in, d_out] in LINEARS {
        let what = format!("linear {tokens} {d_in} {d_out}");
        let (x, weight, bias, y): (&[usize], &[usize], &[usize], &[usize]) =
            (&[tokens, d_in], &[d_out, d_in], &[d_out], &[tokens, d_out]);
        check(&what, &[x, weight], &|tape, v| tape.linear(&v[0], &v[1], None, None).expect("op"), &|v| product(v));
        check(
            &format!("{what} with bias"),
            &[x, weight, bias],
            &|tape, v| tape.linear(&v[0], &v[1], Some(&v[2]), None).expect("op"),
            &|v| product(v)?.broadcast_add(&v[2]),
        );
        check(
            &format!("{what} with bias and residual"),
            &[x, weight, bias, y],
            &|tape, v| tape.linear(&v[0], &v[1], Some(&v[2]), Some(&v[3])).expect("op"),
            &|v| product(v)?.broadcast_add(&v[2])? + &v[3],
        );
        check(
            &format!("{what} with residual"),
            &[x, weight, y],
            &|tape, v| tape.linear(&v[0], &v[1], None, Some(&v[2])).expect("op"),
            &|v| product(v)? + &v[2],
        );
    }
}

/// x·Wᵀ
fn product(v: &[Candle]) -> Result<Candle> {
    v[0].matmul(&v[1].t()?)
}

#[test]
fn linear_layers_on_a_norm_whose_input_is_a_constant() {
    for [tokens, d_in, d_out] in LINEARS {
        let x = random(&[tokens, d_in], 7);
        let constant = to_candle(&x).expect("tensor");
        check(
            &format!("normed linear {tokens} {d_in} {d_out}"),
            // γ, two weights that read the norm, the bias of the first
            &[&[d_in], &[d_out, d_in], &[d_out, d_in], &[d_out]],
            &|tape, v| {
                let normed = tape.norm(&Value::from(&x), &v[0], v[0].tensor().len(), EPSILON).expect("op");
                let first = tape.normed_linear(&normed, &v[1], Some(&v[3])).expect("op");
                let second = tape.normed_linear(&normed, &v[2], None).expect("op");
                tape.add(&first, &second).expect("op")
            },
            &|v| {
                let normed = rms(&constant)?.broadcast_mul(&v[0])?;
                normed.matmul(&v[1].t()?)?.broadcast_add(&v[3])? + normed.matmul(&v[2].t()?)?
            },
        );
    }
}

/// x̂ of rows.
fn rms(x: &Candle) -> Result<Candle> {
    x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(EPSILON))?.sqrt()?)
}

/// Rows, how many norms there are in a row, and their width.
const NORMS: [[usize; 3]; 5] = [[1, 1, 3], [1, 1, 33], [7, 5, 13], [65, 1, 127], [9, 3, 8]];

#[test]
fn norms() {
    for [rows, heads, width] in NORMS {
        let x: &[usize] = &[rows, heads * width];
        let apart = |x: &Candle| x.reshape((rows * heads, width));
        let together = |x: Candle| x.reshape((rows, heads * width));
        check(
            &format!("rms_norm {rows} {heads} {width}"),
            &[x, &[width]],
            &|tape, v| tape.rms_norm(&v[0], &v[1], v[1].tensor().len(), EPSILON).expect("op"),
            &|v| together(rms(&apart(&v[0])?)?.broadcast_mul(&v[1])?),
        );
        check(
            &format!("layer_norm {rows} {heads} {width}"),
            &[x, &[width], &[width]],
            &|tape, v| tape.layer_norm(&v[0], &v[1], &v[2], EPSILON).expect("op"),
            &|v| {
                let x = apart(&v[0])?;
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                together(rms(&centred)?.broadcast_mul(&v[1])?.broadcast_add(&v[2])?)
            },
        );
    }
}

#[test]
fn activations() {
    for shape in [[1, 1], [3, 37], [64, 65]] {
        for kind in Activation::ALL {
            check(
                &format!("{kind:?} of {shape:?}"),
                &[&shape],
                &|tape, v| tape.activate(kind, &v[0]).expect("op"),
                &|v| activated(kind, &v[0]),
            );
            check(
                &format!("gated {kind:?} of {shape:?}"),
                &[&shape, &shape],
                &|tape, v| tape.gated(kind, &v[0], &v[1]).expect("op"),
                &|v| activated(kind, &v[0])? * &v[1],
            );
        }
    }
}

#[test]
fn clamped_gates() {
    let gate = ClampedGate { alpha: 1.702, limit: 0.8 };
    let (alpha, limit) = (f64::from(gate.alpha), f64::from(gate.limit));
    for [rows, width] in [[3, 5], [3, 37], [64, 65]] {
        check(
            &format!("clamped gate of [{rows}, {width}]"),
            &[&[rows, 2 * width]],
            &|tape, v| tape.clamped_gate(gate, &v[0]).expect("op"),
            &|v| {
                let pairs = v[0].reshape((rows, width, 2))?;
                let [gates, ups] = [0, 1].map(|which| pairs.narrow(2, which, 1)?.reshape((rows, width)));
                let gates = gates?.minimum(&Candle::full(limit, (rows, width), &Device::Cpu)?)?;
                let sigmoid = (((&gates * -alpha)?.exp()? + 1.0)?).recip()?;
                (ups?.clamp(-limit, limit)? + 1.0)? * (gates * sigmoid)?
            },
        );
    }
}

fn activated(kind: Activation, x: &Candle) -> Result<Candle> {
    let sigmoid = |x: Candle| ((x.neg()?.exp()? + 1.0)?).recip();
    match kind {
        Activation::Silu => x * sigmoid(x.clone())?,
        Activation::Gelu => ((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * (x * 0.5)?,
        Activation::GeluTanh => {
            let u = ((x + (x.powf(3.0)? * 0.044_715)?)? * std::f64::consts::FRAC_2_PI.sqrt())?;
            x * sigmoid((u * 2.0)?)?
        }
        Activation::Relu => x.relu(),
        Activation::ReluSquared => x.relu()?.sqr(),
        Activation::Sigmoid => sigmoid(x.clone()),
        Activation::Identity => Ok(x.clone()),
    }
}

#[test]
fn attention() {
    for lengths in BATCHES {
        let sequences = Sequences::new(lengths.iter().copied());
        let (offsets, tokens) = (sequences.offsets(), sequences.tokens());
        for (heads, kv_heads, head_dim) in [(1, 1, 1), (6, 2, 5), (4, 4, 8), (8, 1, 12), (3, 3, 64), (2, 1, 512)] {
            for window in [None, Some(1), Some(3), Some(40)] {
                let slopes: Vec<f32> = (1..=heads).map(|head| (head as f32).recip()).collect();
                let plain = Vec::new();
                for (soft_cap, slopes, sinks) in [
                    (None, plain.clone(), false),
                    (None, slopes.clone(), false),
                    (Some(0.7), plain.clone(), false),
                    (None, plain.clone(), true),
                    (Some(0.7), slopes.clone(), true),
                ] {
                    let layout =
                        AttentionLayout { kv_heads, window, soft_cap, slopes, ..AttentionLayout::new(heads, head_dim) };
                    let [q, k, v] = layout.widths().map(|width| [tokens, width]);
                    check(
                        &format!("attention {layout:?} {lengths:?} sinks {sinks}"),
                        &[&q[..], &k, &v, &[heads]][..3 + usize::from(sinks)],
                        &|tape, v| tape.attention([&v[0], &v[1], &v[2]], v.get(3), &layout, offsets).expect("op"),
                        &|v| attended([&v[0], &v[1], &v[2]], v.get(3), &layout, offsets),
                    );
                }
            }
        }
    }
}

fn attended(
    [q, k, v]: [&Candle; 3],
    sinks: Option<&Candle>,
    layout: &AttentionLayout,
    offsets: &[usize],
) -> Result<Candle> {
    let &AttentionLayout { heads, kv_heads, head_dim, scale, window, soft_cap, ref slopes } = layout;
    let group = heads / kv_heads;
    let mut outputs = Vec::new();
    for span in offsets.windows(2) {
        let (start, length) = (span[0], span[1] - span[0]);
        let split = |x: &Candle, n: usize| {
            x.narrow(0, start, length)?.reshape((length, n, head_dim))?.transpose(0, 1)?.contiguous()
        };
        // [kv_heads, group · length, head_dim]: the queries that share a key head lie together
        let queries = split(q, heads)?.reshape((kv_heads, group * length, head_dim))?;
        let (keys, values) = (split(k, kv_heads)?, split(v, kv_heads)?);
        let scores = (queries.matmul(&keys.transpose(1, 2)?.contiguous()?)? * f64::from(scale))?;
        let scores = match soft_cap.map(f64::from) {
            Some(cap) => ((scores / cap)?.tanh()? * cap)?,
            None => scores,
        };
        let scores = scores.reshape((heads, length, length))?.broadcast_add(&causal_bias(length, window)?)?;
        let scores = if slopes.is_empty() { scores } else { (scores + linear_biases(length, slopes)?)? };
        // a sink is one more key, whose share goes nowhere
        let scores = match sinks {
            Some(sinks) => Candle::cat(&[&scores, &sinks.reshape((heads, 1, 1))?.expand((heads, length, 1))?], 2)?,
            None => scores,
        };
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.narrow(2, 0, length)?.contiguous()?;
        let mixed = weights.reshape((kv_heads, group * length, length))?.matmul(&values)?;
        outputs.push(mixed.reshape((heads, length, head_dim))?.transpose(0, 1)?.reshape((length, heads * head_dim))?);
    }
    Candle::cat(&outputs, 0)
}

/// [length, length]: 0 where a query sees a key, −∞ where not.
fn causal_bias(length: usize, window: Option<usize>) -> Result<Candle> {
    let window = window.unwrap_or(length);
    let of = |t: usize, s: usize| if s <= t && s + window > t { 0.0 } else { f64::NEG_INFINITY };
    let bias: Vec<f64> = (0..length).flat_map(|t| (0..length).map(move |s| of(t, s))).collect();
    Candle::from_vec(bias, (length, length), &Device::Cpu)
}

/// [heads, length, length]: what a query takes off for each step back.
fn linear_biases(length: usize, slopes: &[f32]) -> Result<Candle> {
    let of = |slope: f32, t: usize, s: usize| -f64::from(slope) * t.saturating_sub(s) as f64;
    let rows = slopes.iter().flat_map(|&slope| (0..length).map(move |t| (slope, t)));
    let biases: Vec<f64> = rows.flat_map(|(slope, t)| (0..length).map(move |s| of(slope, t, s))).collect();
    Candle::from_vec(biases, (slopes.len(), length, length), &Device::Cpu)
}

#[test]
fn scales_and_bounds() {
    for shape in [[1, 1], [3, 37], [64, 300]] {
        check("scale", &[&shape], &|tape, v| tape.scale(&v[0], -0.3).expect("op"), &|v| &v[0] * f64::from(-0.3f32));
        check("times", &[&shape, &[3]], &|tape, v| tape.times(&v[0], &v[1], 2).expect("op"), &|v| {
            v[0].broadcast_mul(&v[1].narrow(0, 2, 1)?)
        });
        // one entry may be beyond the bound, and no gradient is left to compare
        let enough = [shape[0], shape[1] + 9];
        check("clamp", &[&enough], &|tape, v| tape.clamp(&v[0], 0.4).expect("op"), &|v| {
            v[0].clamp(f64::from(-0.4f32), f64::from(0.4f32))
        });
        check("soft cap", &[&shape], &|tape, v| tape.soft_cap(&v[0], 0.5).expect("op"), &|v| {
            (&v[0] / 0.5)?.tanh()? * 0.5
        });
    }
}

#[test]
fn rotary() {
    for lengths in BATCHES {
        let sequences = Sequences::new(lengths.iter().copied());
        let (offsets, tokens) = (sequences.offsets(), sequences.tokens());
        for (heads, head_dim, dim) in [(1, 2, 2), (3, 10, 10), (3, 10, 4), (2, 16, 6), (5, 7, 2)] {
            for pairs in [RotaryPairs::Halves, RotaryPairs::Neighbours] {
                let table = RotarySpec { theta: 100.0, dim, pairs, scaling: RotaryScaling::Default }.table(70);
                check(
                    &format!("rotary {heads} {head_dim} {dim} {pairs:?} {lengths:?}"),
                    &[&[tokens, heads * head_dim]],
                    &|tape, v| tape.rotary(&v[0], head_dim, offsets, &table).expect("op"),
                    &|v| rotated(&v[0], head_dim, offsets, &table),
                );
            }
        }
    }
}

fn rotated(x: &Candle, head_dim: usize, offsets: &[usize], table: &RotaryTable) -> Result<Candle> {
    let ((tokens, width), half) = (x.dims2()?, table.cos.width());
    let positions: Vec<u32> = offsets.windows(2).flat_map(|w| 0..(w[1] - w[0]) as u32).collect();
    let positions = Candle::new(positions, x.device())?;
    let angle = |t: &Tensor| to_candle(t)?.index_select(&positions, 0)?.unsqueeze(1); // [tokens, 1, half]
    let (cos, sin) = (angle(&table.cos)?, angle(&table.sin)?);
    let x = x.reshape((tokens, width / head_dim, head_dim))?;
    let turned = x.narrow(D::Minus1, 0, 2 * half)?;
    let (a, b) = match table.pairs {
        RotaryPairs::Halves => (turned.narrow(D::Minus1, 0, half)?, turned.narrow(D::Minus1, half, half)?),
        RotaryPairs::Neighbours => {
            let pairs = turned.reshape((tokens, width / head_dim, half, 2))?;
            (pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?)
        }
    };
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = match table.pairs {
        RotaryPairs::Halves => vec![first, second],
        RotaryPairs::Neighbours => {
            vec![Candle::stack(&[first, second], 3)?.reshape((tokens, width / head_dim, 2 * half))?]
        }
    };
    if 2 * half < head_dim {
        parts.push(x.narrow(D::Minus1, 2 * half, head_dim - 2 * half)?);
    }
    Candle::cat(&parts, D::Minus1)?.reshape((tokens, width))
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range of columns, not the columns in it")]
fn columns() {
    let cases: [(usize, Vec<Range<usize>>); 4] =
        [(1, vec![0..1]), (9, vec![3..8]), (13, vec![7..9, 0..3, 12..13]), (11, vec![0..4, 2..7])];
    for rows in [1, 6, 65] {
        for (width, ranges) in &cases {
            let taken: Arc<[Range<usize>]> = ranges.clone().into();
            let op = |tape: &mut Tape, v: &[Value]| {
                // two readers: the second adds to the gradient of the first
                let once = tape.columns(&v[0], &taken).expect("op");
                let twice = tape.columns(&v[0], &taken).expect("op");
                tape.gated(Activation::Relu, &once, &twice).expect("op")
            };
            check(&format!("columns {ranges:?} of {rows} {width}"), &[&[rows, *width]], &op, &|v| {
                let parts = ranges.iter().map(|range| v[0].narrow(1, range.start, range.len()));
                let parts = Candle::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?;
                parts.relu()? * &parts
            });
        }
    }
}

#[test]
fn rows_and_sums() {
    for (rows, width, taken) in [(1, 1, vec![0]), (5, 7, vec![4, 0, 4, 4, 2, 1, 3]), (9, 33, (0..9).rev().collect())] {
        check(
            &format!("rows {taken:?} of {rows} {width}"),
            &[&[rows, width]],
            &|tape, v| tape.select_rows(&v[0], &taken).expect("op"),
            &|v| v[0].index_select(&Candle::new(taken.as_slice(), &Device::Cpu)?, 0),
        );
        check(
            &format!("sums of {rows} {width}"),
            &[&[rows, width], &[rows, width]],
            &|tape, v| {
                let once = tape.add(&v[0], &v[1]).expect("op");
                tape.add(&once, &v[0]).expect("op")
            },
            &|v| (&v[0] + &v[1])? + &v[0],
        );
    }
}

/// log softmax of rows.
fn log_softmax(x: &Candle) -> Result<Candle> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// Tokens and width of what a loss reads.
const LOSSES: [[usize; 2]; 5] = [[1, 2], [1, 33], [7, 129], [65, 5], [3, 1000]];

#[test]
fn losses_of_predictions() {
    for shape @ [tokens, classes] in LOSSES {
        let targets: Vec<u32> = (0..tokens).map(|token| (token * 31 % classes) as u32).collect();
        check(
            &format!("cross_entropy {shape:?}"),
            &[&shape],
            &|tape, v| tape.cross_entropy(&v[0], &targets).expect("op"),
            &|v| {
                let targets = Candle::new(targets.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
                log_softmax(&v[0])?.gather(&targets, 1)?.mean_all()?.neg()
            },
        );
        // sure of what the student is not: where the two agree the divergence is less than its rounding
        let mut teacher = random(&shape, 5);
        teacher.host_mut().chunks_mut(classes).enumerate().for_each(|(token, row)| row[token % classes] += 6.0);
        let constant = to_candle(&teacher).expect("tensor");
        for temperature in [0.5f32, 1.0, 3.0] {
            let t = f64::from(temperature);
            check(
                &format!("distillation {shape:?} {temperature}"),
                &[&shape],
                &|tape, v| tape.distillation(&v[0], &teacher, temperature).expect("op"),
                &|v| {
                    let (student, teacher) = (log_softmax(&(&v[0] / t)?)?, log_softmax(&(&constant / t)?)?);
                    (teacher.exp()? * (&teacher - student)?)?.sum_all()? * (t * t)
                },
            );
        }
    }
}

#[test]
fn losses_of_activations() {
    for shape in LOSSES {
        let target = random(&shape, 5);
        let t = to_candle(&target).expect("tensor");
        check(
            &format!("squared_error {shape:?}"),
            &[&shape],
            &|tape, v| tape.squared_error(&v[0], &target, 0.25).expect("op"),
            &|v| (&v[0] - &t)?.sqr()?.sum_all()? * 0.25,
        );
        check(
            &format!("normalized_squared_error {shape:?}"),
            &[&shape],
            &|tape, v| tape.normalized_squared_error(&v[0], &target, 0.5).expect("op"),
            &|v| ((&v[0] - &t)?.sqr()?.sum(1)? / t.sqr()?.mean(1)?)?.sum_all()? * 0.5,
        );
        check(
            &format!("cosine_distance {shape:?}"),
            &[&shape],
            &|tape, v| tape.cosine_distance(&v[0], &target, 2.0).expect("op"),
            &|v| {
                let norms = (v[0].sqr()?.sum(1)?.sqrt()? * t.sqr()?.sum(1)?.sqrt()?)?;
                (((&v[0] * &t)?.sum(1)? / norms)?.neg()? + 1.0)?.sum_all()? * 2.0
            },
        );
    }
}

#[test]
fn adapters() {
    for [d_out, d_in, rank] in [[1, 9, 1], [5, 7, 2], [33, 17, 4], [3, 130, 16]] {
        let mask = Mask::new(d_in, (0..d_out * d_in).map(|i| u8::from(i % 3 != 0)).collect());
        for form in [
            AdapterForm::Added { scale: 0.5, mask: None },
            AdapterForm::Added { scale: 0.5, mask: Some(mask) },
            AdapterForm::Multiplied { offset: 0.0, scale: 1.0 },
            AdapterForm::Multiplied { offset: 1.0, scale: 0.5 },
        ] {
            check(
                &format!("adapted {d_out} {d_in} {rank} {}", name(&form)),
                &[&[d_out, d_in], &[d_out, rank], &[rank, d_in]],
                &|tape, v| tape.adapted([&v[0], &v[1], &v[2]], &form).expect("op"),
                &|v| adapted([&v[0], &v[1], &v[2]], &form),
            );
        }
    }
}

/// A mask is long.
fn name(form: &AdapterForm) -> String {
    format!("{form:?}").chars().take(30).collect()
}

fn adapted([weight, left, right]: [&Candle; 3], form: &AdapterForm) -> Result<Candle> {
    let product = left.matmul(right)?;
    match form {
        AdapterForm::Added { scale, mask } => {
            let mut added = (product * f64::from(*scale))?;
            if let Some(mask) = mask {
                let kept = Candle::from_slice(mask.as_slice(), weight.shape(), &Device::Cpu)?;
                added = (added * kept.to_dtype(DType::F64)?)?;
            }
            weight + added
        }
        AdapterForm::Multiplied { offset, scale } => weight * ((product * f64::from(*scale))? + f64::from(*offset))?,
    }
}
