//! Throughput of the kernels at the shapes of one decoder block in training: 2 × 512 tokens, hidden 576, 9 heads over 3 key heads of
//! 64, feed-forward 1536. Criterion's elements per second are floating-point operations per second where a kernel is a product
//! (attention counts the causal half only), and elements of AdamW. Norms and activations say bytes per second, beside those of a copy,
//! and are also run at shapes that no cache holds.
//!
//! Run with `cargo bench -p lopper-kernels`.

#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lopper_kernels::{
    Activation, AdamWStep, AttentionShape, ClampedGate, Precision, View, activate, activate_backward, adamw, attention,
    attention_backward, clamped_gate, clamped_gate_backward, gated, gated_backward, layer_norm, layer_norm_backward,
    matmul, rms_norm, rms_norm_backward,
};
use rayon::prelude::*;
use std::hint::black_box;

fn numbers(length: usize) -> Vec<f32> {
    (0..length as u32).map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matmul");
    for precision in [Precision::F32, Precision::Bf16] {
        for (n, k) in [(576, 576), (192, 576), (1536, 576), (576, 1536)] {
            let (x, weight, mut y) = (numbers(1024 * k), numbers(n * k), vec![0f32; 1024 * n]);
            group.throughput(Throughput::Elements(2 * 1024 * (n * k) as u64));
            group.bench_function(format!("{precision:?} forward x·Wᵀ 1024×{n}×{k}"), |bencher| {
                bencher
                    .iter(|| matmul(&mut y, n, false, View::new(&x, 1024, k), View::new(&weight, n, k).t(), precision));
            });
        }
        let (n, k) = (1536, 576);
        let (x, dy, weight) = (numbers(1024 * k), numbers(1024 * n), numbers(n * k));
        let (mut dx, mut d_weight) = (vec![0f32; 1024 * k], vec![0f32; n * k]);
        group.throughput(Throughput::Elements(2 * 1024 * (n * k) as u64));
        group.bench_function(format!("{precision:?} input gradient dy·W 1024×{k}×{n}"), |bencher| {
            bencher.iter(|| matmul(&mut dx, k, false, View::new(&dy, 1024, n), View::new(&weight, n, k), precision));
        });
        group.bench_function(format!("{precision:?} weight gradient dyᵀ·x {n}×{k}×1024"), |bencher| {
            bencher.iter(|| {
                matmul(&mut d_weight, k, false, View::new(&dy, 1024, n).t(), View::new(&x, 1024, k), precision);
            });
        });
    }
}

/// The same forward products by the `gemm` crate, which is what is used where there is no AVX-512.
fn peer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matmul");
    for (n, k) in [(576, 576), (192, 576), (1536, 576), (576, 1536)] {
        let (x, weight, mut y) = (numbers(1024 * k), numbers(n * k), vec![0f32; 1024 * n]);
        group.throughput(Throughput::Elements(2 * 1024 * (n * k) as u64));
        group.bench_function(format!("F32 forward by the gemm crate 1024×{n}×{k}"), |bencher| {
            let (row, along) = (n.cast_signed(), k.cast_signed());
            let threads = gemm::Parallelism::Rayon(0);
            // SAFETY: the slices hold 1024 × n, 1024 × k and n × k elements, and `y` is borrowed alone.
            bencher.iter(|| unsafe {
                let (y, x, w) = (y.as_mut_ptr(), x.as_ptr(), weight.as_ptr());
                gemm::gemm(
                    1024, n, k, y, 1, row, false, x, 1, along, w, along, 1, 0.0, 1.0, false, false, false, threads,
                );
            });
        });
    }
}

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for (offsets, window) in [(&[0, 512, 1024][..], None), (&[0, 4096], None), (&[0, 4096], Some(512))] {
        let shape = AttentionShape {
            offsets,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            scale: 0.125,
            window,
            soft_cap: None,
            slopes: &[],
            sinks: &[],
        };
        let tokens = offsets[offsets.len() - 1];
        let (q, k, v, d_out) =
            (numbers(tokens * 576), numbers(tokens * 192), numbers(tokens * 192), numbers(tokens * 576));
        let (mut out, mut saved) = (vec![0f32; tokens * 576], vec![0f32; tokens * 9]);
        let seen: usize = (0..offsets[1]).map(|t| window.map_or(t + 1, |window: usize| window.min(t + 1))).sum();
        let forward = (4 * 64 * 9 * seen * (offsets.len() - 1)) as u64;
        let name = format!("{} × {} window {window:?}", offsets.len() - 1, offsets[1]);
        group.throughput(Throughput::Elements(forward));
        group.bench_function(format!("forward {name}"), |bencher| {
            bencher.iter(|| attention(&shape, &q, &k, &v, &mut out, &mut saved));
        });
        let (mut dq, mut dk, mut dv) = (vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]);
        group.throughput(Throughput::Elements(forward / 2 * 5));
        group.bench_function(format!("backward {name}"), |bencher| {
            bencher.iter(|| attention_backward(&shape, &q, &k, &v, &out, &saved, &d_out, &mut dq, &mut dk, &mut dv));
        });
    }
}

/// In bytes read and written per second, beside a copy by all threads: the ratio to it is the share of the memory bandwidth.
fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    for (tokens, n) in [(1024, 576), (1024, 1536), (8192, 2048)] {
        let size = tokens * n;
        let (x, d_out, weight, bias) = (&numbers(size)[..], &numbers(size)[..], &numbers(n)[..], &numbers(n)[..]);
        let (mut y, mut mean, mut inverse) = (vec![0f32; size], vec![0f32; tokens], vec![0f32; tokens]);
        let (mut d_weight, mut d_bias) = (vec![0f32; n], vec![0f32; n]);
        group.throughput(Throughput::BytesDecimal(8 * size as u64));
        group.bench_function(format!("copy {tokens}×{n}"), |bencher| {
            bencher.iter(|| y.par_chunks_mut(16 * n).zip(x.par_chunks(16 * n)).for_each(|(y, x)| y.copy_from_slice(x)));
        });
        group.bench_function(format!("rms_norm {tokens}×{n}"), |bencher| {
            bencher.iter(|| rms_norm(x, weight, 1e-5, &mut y, &mut inverse));
        });
        group.bench_function(format!("layer_norm {tokens}×{n}"), |bencher| {
            bencher.iter(|| layer_norm(x, Some(weight), Some(bias), n, 1e-5, &mut y, &mut mean, &mut inverse));
        });
        // the inputs are read once for dx and once for the gradients of weight and bias
        group.throughput(Throughput::BytesDecimal(20 * size as u64));
        group.bench_function(format!("rms_norm_backward {tokens}×{n}"), |bencher| {
            let inverse = &inverse;
            bencher.iter(|| rms_norm_backward(d_out, x, weight, inverse, Some(&mut y), false, Some(&mut d_weight)));
        });
        group.bench_function(format!("layer_norm_backward {tokens}×{n}"), |bencher| {
            let (w, mean, inverse) = (Some(weight), &mean, &inverse);
            bencher.iter(|| {
                let gradients = (Some(&mut y[..]), Some(&mut d_weight[..]), Some(&mut d_bias[..]));
                layer_norm_backward(d_out, x, w, mean, inverse, n, gradients.0, false, gradients.1, gradients.2);
            });
        });
    }
}

/// In bytes, as [`rows`].
fn activations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("activations");
    for n in [1024 * 1536, 8192 * 2048] {
        let (a, b, c) = (numbers(n), numbers(n), numbers(n));
        let (mut d, mut e) = (vec![0f32; n], vec![0f32; n]);
        for kind in Activation::ALL {
            group.throughput(Throughput::BytesDecimal(8 * n as u64));
            group.bench_function(format!("{kind:?} {n}"), |bencher| bencher.iter(|| activate(kind, &a, &mut d)));
            group.throughput(Throughput::BytesDecimal(12 * n as u64));
            group.bench_function(format!("{kind:?} backward {n}"), |bencher| {
                bencher.iter(|| activate_backward(kind, &a, &b, &mut d));
            });
            group.bench_function(format!("{kind:?} gated {n}"), |bencher| bencher.iter(|| gated(kind, &a, &b, &mut d)));
            group.throughput(Throughput::BytesDecimal(20 * n as u64));
            group.bench_function(format!("{kind:?} gated backward {n}"), |bencher| {
                bencher.iter(|| gated_backward(kind, &a, &b, &c, &mut d, &mut e));
            });
        }
    }
}

/// In bytes, as [`rows`].
fn gates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clamped_gate");
    let gate = ClampedGate { alpha: 1.702, limit: 7.0 };
    for n in [1024 * 1536, 8192 * 2048] {
        let (pairs, d_out) = (numbers(2 * n), numbers(n));
        let (mut out, mut d_pairs) = (vec![0f32; n], vec![0f32; 2 * n]);
        group.throughput(Throughput::BytesDecimal(12 * n as u64));
        group.bench_function(format!("forward {n}"), |bencher| bencher.iter(|| clamped_gate(gate, &pairs, &mut out)));
        group.throughput(Throughput::BytesDecimal(20 * n as u64));
        group.bench_function(format!("backward {n}"), |bencher| {
            bencher.iter(|| clamped_gate_backward(gate, &pairs, &d_out, &mut d_pairs));
        });
    }
}

fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adamw");
    let n = 3 * 576 * 1536;
    let (grad, mask) = (numbers(n), (0..n).map(|i| u8::from(i % 2 == 0)).collect::<Vec<_>>());
    let (mut weight, mut first, mut second) = (numbers(n), vec![0f32; n], vec![0f32; n]);
    let step = AdamWStep { learning_rate: 1e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, step: 10 };
    group.throughput(Throughput::Elements(n as u64));
    for (name, mask) in [("dense", None), ("masked", Some(&mask[..]))] {
        group.bench_function(format!("{name} {n}"), |bencher| {
            bencher.iter(|| adamw(black_box(&step), &mut weight, &mut first, &mut second, &grad, mask));
        });
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = products, peer, attentions, rows, activations, gates, updates
}
criterion_main!(kernels);
