//! The Cholesky factor against its definition and a naive one.

use crate::reference;

use lopper_kernels::cholesky;
use lopper_kernels::dispatch::{Tier, with_tier};
use reference::random;

const ORDERS: [usize; 12] = [0, 1, 2, 7, 24, 71, 72, 73, 96, 144, 145, 300];

/// `XᵀX + I` of random X, with numbers above the diagonal that nothing may read.
fn problem(n: usize) -> Vec<f64> {
    let x = random(n * n, 5);
    let product = |i: usize, j: usize| (0..n).map(|k| f64::from(x[k * n + i]) * f64::from(x[k * n + j])).sum::<f64>();
    let entry = |i: usize, j: usize| if j > i { f64::NAN } else { product(i, j) + f64::from(u8::from(i == j)) };
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

/// Row by row from the last up.
fn naive(a: &[f64], n: usize) -> Vec<f64> {
    let mut s = vec![0.0; n * n];
    for i in (0..n).rev() {
        let rest = |s: &[f64], j: usize| a[i * n + j] - (i + 1..n).map(|k| s[k * n + i] * s[k * n + j]).sum::<f64>();
        let pivot = rest(&s, i).sqrt();
        for j in 0..=i {
            s[i * n + j] = rest(&s, j) / pivot;
        }
    }
    s
}

fn lower(s: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|at| if at % n.max(1) > at / n.max(1) { 0.0 } else { s[at] }).collect()
}

fn factor(a: &[f64], n: usize) -> Vec<f64> {
    let mut s = a.to_vec();
    assert!(cholesky(&mut s, n), "{n}");
    lower(&s, n)
}

#[test]
fn agrees_with_a_naive_factor_in_every_tier() {
    for n in ORDERS {
        let a = problem(n);
        let expected = naive(&a, n);
        for tier in Tier::available() {
            let found = with_tier(tier, || factor(&a, n));
            for (at, (x, y)) in found.iter().zip(&expected).enumerate() {
                assert!((x - y).abs() < 1e-11 * n as f64, "{n} {tier:?}: {at}: {x} instead of {y}");
            }
        }
    }
}

#[test]
fn is_the_same_for_any_number_of_threads() {
    let n = 500;
    let a = problem(n);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| factor(&a, n))
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn tells_what_is_not_positive_definite() {
    for n in [1, 3, 72, 100, 250] {
        for at in [0, n / 2, n - 1] {
            for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
                let mut a: Vec<f64> = (0..n * n).map(|at| f64::from(u8::from(at / n == at % n))).collect();
                a[at * n + at] = wrong;
                assert!(!cholesky(&mut a, n), "{n}: {wrong} at {at}");
            }
        }
    }
}
