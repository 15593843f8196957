//! Products against an f64 reference, for shapes that fit no tile, both layouts, strides and accumulation.
#![allow(clippy::float_cmp, reason = "results that must be exact are compared exactly")]

use crate::reference;

use lopper_kernels::dispatch::{Tier, with_tier};
use lopper_kernels::{Precision, View, bf16_is_native, matmul};
use reference::{assert_close, assert_threads_agree, random, to_f64};

fn rounded(x: f32) -> f64 {
    let mut bits = [0u16];
    lopper_kernels::f32_to_bf16(&[x], &mut bits);
    f64::from(f32::from_bits(u32::from(bits[0]) << 16))
}

/// Element (r, c) of a view.
fn at(view: &View, r: usize, c: usize) -> f32 {
    view.data[if view.transposed { c * view.leading + r } else { r * view.leading + c }]
}

fn naive(a: &View, b: &View, precision: Precision) -> Vec<f64> {
    let entry = |view: &View, r, c| match precision {
        Precision::F32 => f64::from(at(view, r, c)),
        Precision::Bf16 => rounded(at(view, r, c)),
    };
    let left: Vec<f64> = (0..a.rows * a.cols).map(|i| entry(a, i / a.cols, i % a.cols)).collect();
    let right: Vec<f64> = (0..b.rows * b.cols).map(|i| entry(b, i / b.cols, i % b.cols)).collect();
    let mut out = vec![0.0; a.rows * b.cols];
    for (row, out) in left.chunks(a.cols).zip(out.chunks_mut(b.cols)) {
        for (x, right) in row.iter().zip(right.chunks(b.cols)) {
            out.iter_mut().zip(right).for_each(|(out, y)| *out += x * y);
        }
    }
    out
}

/// A view of `[rows, cols]` with a stride that leaves a gap, stored transposed or not.
fn view(data: &[f32], rows: usize, cols: usize, gap: usize, transposed: bool) -> View<'_> {
    if transposed {
        View::strided(data, cols, rows, rows + gap).t()
    } else {
        View::strided(data, rows, cols, cols + gap)
    }
}

/// All four layouts of one shape, overwriting and accumulating, into an output with a gap that must stay untouched.
fn check(m: usize, n: usize, k: usize, precision: Precision) {
    let gap = (m + n + k) % 4;
    let left = random((m + gap) * (k + gap), 1 + m as u64);
    let right = random((k + gap) * (n + gap), 1000 + n as u64);
    for layout in 0..4 {
        let (a, b) = (view(&left, m, k, gap, layout & 1 == 1), view(&right, k, n, gap, layout & 2 == 2));
        let expected = naive(&a, &b, precision);
        for accumulate in [false, true] {
            let before = random(m * (n + gap), 7);
            let mut out = before.clone();
            matmul(&mut out, n + gap, accumulate, a, b, precision);
            for (r, row) in out.chunks(n + gap).enumerate() {
                let old = &before[r * (n + gap)..];
                let expected: Vec<f64> =
                    (0..n).map(|c| expected[r * n + c] + if accumulate { f64::from(old[c]) } else { 0.0 }).collect();
                // an epsilon per product of size 1; one product lost or left unrounded would show
                let tolerance = f64::from(f32::EPSILON) * k.clamp(8, 1024) as f64;
                assert_close(
                    &format!("{m}×{n}×{k} layout {layout} {precision:?} row {r}"),
                    &row[..n],
                    &expected,
                    tolerance,
                );
                assert_eq!(&row[n..], &old[n..row.len()], "the gap between rows was written");
            }
        }
    }
}

#[test]
fn small_shapes_agree_with_f64() {
    for precision in [Precision::F32, Precision::Bf16] {
        for m in [1, 2, 7, 8, 9, 17] {
            for n in [1, 3, 15, 16, 33, 47, 48, 49, 97] {
                for k in [1, 2, 3, 31, 32, 33, 64, 65] {
                    check(m, n, k, precision);
                }
            }
        }
    }
}

#[test]
fn large_shapes_agree_with_f64() {
    for precision in [Precision::F32, Precision::Bf16] {
        check(130, 200, 385, precision);
        check(77, 51, 1155, precision);
        check(1030, 52, 40, precision);
        check(3, 700, 769, precision);
    }
}

#[test]
fn a_right_operand_too_large_to_pack_at_once_is_cut() {
    check(9, 120, 45_000, Precision::Bf16);
    check(49, 1500, 1500, Precision::F32);
}

#[test]
fn native_and_rounded_bf16_agree() {
    if !bf16_is_native() {
        return;
    }
    let (m, n, k) = (65, 130, 501);
    let (a, b) = (random(m * k, 1), random(k * n, 2));
    let run = |tier| {
        let mut out = vec![0f32; m * n];
        with_tier(tier, || matmul(&mut out, n, false, View::new(&a, m, k), View::new(&b, k, n), Precision::Bf16));
        out
    };
    let rounded = to_f64(&run(Tier::Avx2));
    assert_close("native bf16", &run(Tier::Avx512), &rounded, 2e-5);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let shapes = [
        (1, 1, 5000),
        (1, 576, 1536),
        (1, 3000, 3000),
        (3000, 1, 3000),
        (64, 64, 4096),
        (16, 16, 9000),
        (2000, 3, 2),
        (1024, 192, 576),
        (192, 576, 1024),
        (333, 577, 1025),
        (40, 4000, 700),
        (4000, 40, 700),
    ];
    for (m, n, k) in shapes {
        let (left, right) = (random(m * k, 3), random(k * n, 4));
        for precision in [Precision::F32, Precision::Bf16] {
            for layout in 0..4 {
                let (a, b) = (view(&left, m, k, 0, layout & 1 == 1), view(&right, k, n, 0, layout & 2 == 2));
                assert_threads_agree(&format!("{m}×{n}×{k} {precision:?} layout {layout}"), || {
                    let mut out = vec![0f32; m * n];
                    matmul(&mut out, n, false, a, b, precision);
                    out
                });
            }
        }
    }
}

#[test]
fn products_nest_inside_rayon_tasks() {
    use rayon::prelude::*;
    let (a, b) = (random(200 * 300, 5), random(300 * 100, 6));
    for precision in [Precision::F32, Precision::Bf16] {
        let product = || {
            let mut out = vec![0f32; 200 * 100];
            matmul(&mut out, 100, false, View::new(&a, 200, 300), View::new(&b, 300, 100), precision);
            out
        };
        let expected = product();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("three threads can be had");
        let all: Vec<Vec<f32>> = pool.install(|| (0..24).into_par_iter().map(|_| product()).collect());
        assert!(all.iter().all(|out| *out == expected));
    }
}

#[test]
fn an_empty_inner_dimension_gives_zeros_or_leaves_the_output() {
    let mut out = [1f32; 6];
    matmul(&mut out, 3, true, View::new(&[], 2, 0), View::new(&[], 0, 3), Precision::F32);
    assert_eq!(out, [1.0; 6]);
    matmul(&mut out, 3, false, View::new(&[], 2, 0), View::new(&[], 0, 3), Precision::Bf16);
    assert_eq!(out, [0.0; 6]);
}

#[test]
#[should_panic(expected = "[2, 3] · [2, 2]")]
fn shapes_that_do_not_fit_panic() {
    matmul(&mut [0.0; 4], 2, false, View::new(&[0.0; 6], 2, 3), View::new(&[0.0; 4], 2, 2), Precision::F32);
}

#[test]
#[should_panic(expected = "in 5 elements")]
fn a_short_output_panics() {
    matmul(&mut [0.0; 5], 3, false, View::new(&[0.0; 4], 2, 2), View::new(&[0.0; 6], 2, 3), Precision::F32);
}
