//! Conjugate gradients on a mask against elimination in f64, with inputs that are always zero.
#![allow(clippy::float_cmp, reason = "what must not move is compared exactly")]

use crate::reference;

use lopper_kernels::{Precision, View, conjugate_gradient_start, conjugate_gradient_step, matmul};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, to_f64};

const ROWS: usize = 5;

/// AᵀA + I of `n` inputs, with zeros in the rows and the columns of the `dead` ones.
fn gram(n: usize, dead: &[usize]) -> Vec<f32> {
    let a = random(n * n, 1);
    let entry = |i: usize, j: usize| (0..n).map(|r| a[r * n + i] * a[r * n + j]).sum::<f32>() / n as f32;
    let alive = |i: usize, j: usize| !dead.contains(&i) && !dead.contains(&j);
    let diagonal = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
    (0..n * n)
        .map(|ij| (ij / n, ij % n))
        .map(|(i, j)| if alive(i, j) { entry(i, j) + diagonal(i, j) } else { 0.0 })
        .collect()
}

fn mask(n: usize) -> Vec<u8> {
    (0..ROWS * n).map(|i| u8::from(i % 3 != 1)).collect()
}

/// `x[free]` of `x·H = b` on the free inputs, by Gaussian elimination; H is positive definite there.
fn eliminate(h: &[f64], b: &[f64], free: &[usize]) -> Vec<f64> {
    let (n, m) = (b.len(), free.len());
    let mut a: Vec<Vec<f64>> =
        free.iter().map(|i| free.iter().map(|j| h[i * n + j]).chain([b[*i]]).collect()).collect();
    for pivot in 0..m {
        let row = a[pivot].clone();
        for other in (0..m).filter(|other| *other != pivot) {
            let factor = a[other][pivot] / row[pivot];
            a[other].iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
        }
    }
    (0..m).map(|i| a[i][m] / a[i][i]).collect()
}

/// `[solution, direction]` after `steps` steps on `w·H` from `start`, with this inverse of the diagonal of a dead input.
fn solve(h: &[f32], n: usize, start: &[f32], steps: usize, of_dead: f32) -> [Vec<f32>; 2] {
    let kept = mask(n);
    let inverse: Vec<f32> = (0..n).map(|j| h[j * n + j]).map(|d| if d > 0.0 { 1.0 / d } else { of_dead }).collect();
    let product = |a: &[f32]| {
        let mut out = vec![0.0; ROWS * n];
        matmul(&mut out, n, false, View::new(a, ROWS, n), View::new(h, n, n), Precision::F32);
        out
    };
    let missing: Vec<f32> = random(ROWS * n, 2).iter().zip(start).map(|(w, x)| w - x).collect();
    let (mut x, mut r, mut p) = (start.to_vec(), product(&missing), vec![f32::NAN; ROWS * n]);
    let mut energies = [0.0; ROWS];
    conjugate_gradient_start(&kept, &inverse, &mut r, &mut p, &mut energies);
    for _ in 0..steps {
        let image = product(&p);
        conjugate_gradient_step(&kept, &inverse, &image, &mut x, &mut r, &mut p, &mut energies);
    }
    [x, p]
}

/// A first solution that is zero off the mask.
fn start(n: usize) -> Vec<f32> {
    random(ROWS * n, 3).iter().zip(mask(n)).map(|(x, kept)| if kept == 1 { *x } else { 0.0 }).collect()
}

#[test]
fn the_solution_is_that_of_elimination() {
    for (n, dead) in [(1, &[][..]), (7, &[]), (33, &[]), (7, &[3]), (33, &[0, 17, 32]), (48, &[5, 6]), (3, &[0, 1, 2])]
    {
        let (h, kept, start) = (gram(n, dead), mask(n), start(n));
        let [x, _] = solve(&h, n, &start, 60, f32::INFINITY);
        let (wide, w) = (to_f64(&h), to_f64(&random(ROWS * n, 2)));
        for row in 0..ROWS {
            let image: Vec<f64> = (0..n).map(|j| (0..n).map(|i| w[row * n + i] * wide[i * n + j]).sum()).collect();
            let free: Vec<usize> = (0..n).filter(|j| kept[row * n + j] == 1 && !dead.contains(j)).collect();
            let mut expected = to_f64(&start[row * n..][..n]);
            free.iter().zip(eliminate(&wide, &image, &free)).for_each(|(j, x)| expected[*j] = x);
            assert_close(&format!("row {row} of {n} inputs, dead {dead:?}"), &x[row * n..][..n], &expected, 2e-6);
        }
    }
}

#[test]
fn a_dead_input_never_moves() {
    let (n, dead) = (40, [0, 7, 39]);
    let (h, start) = (gram(n, &dead), start(n));
    for steps in [0, 1, 2, 9] {
        let zero = solve(&h, n, &start, steps, 0.0);
        for inverse in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(solve(&h, n, &start, steps, inverse), zero, "an inverse of {inverse} counts as 0");
        }
        for i in (0..ROWS * n).filter(|i| dead.contains(&(i % n))) {
            assert_eq!((zero[0][i], zero[1][i]), (start[i], 0.0), "entry {i} after {steps} steps");
        }
        assert!(zero.concat().iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_dead_input_is_as_good_as_none() {
    // at the end, where it changes no order of summation
    let (n, start) = (41, start(41));
    let (h, kept) = (gram(n, &[n - 1]), mask(n));
    let smaller: Vec<f32> = (0..n - 1).flat_map(|i| h[i * n..i * n + n - 1].to_vec()).collect();
    let (inverse, small): (Vec<f32>, Vec<f32>) = ((0..n).map(|j| 1.0 / h[j * n + j]).collect(), start[..n].to_vec());
    let run = |n: usize, h: &[f32]| {
        let (mut x, mut r, mut p, mut energies) = (vec![0.0; n], small[..n].to_vec(), vec![0.0; n], [0.0]);
        r.iter_mut().skip(40).for_each(|r| *r = 0.0);
        conjugate_gradient_start(&kept[..n], &inverse[..n], &mut r, &mut p, &mut energies);
        for _ in 0..5 {
            // a product that adds in order, whatever n
            let image: Vec<f32> = (0..n).map(|j| (0..n).map(|i| p[i] * h[i * n + j]).sum()).collect();
            conjugate_gradient_step(&kept[..n], &inverse[..n], &image, &mut x, &mut r, &mut p, &mut energies);
        }
        x
    };
    assert_eq!(run(n, &h)[..n - 1], run(n - 1, &smaller));
}

#[test]
fn tiers_and_threads_agree() {
    let run = || solve(&gram(129, &[64]), 129, &start(129), 12, f32::INFINITY).concat();
    assert_tiers_agree("conjugate gradients", 1e-5, run);
    assert_threads_agree("conjugate gradients", run);
}
