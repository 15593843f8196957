//! The kernels of the sweep and of subset losses against plain loops in f64, on every tier.

use crate::reference;

use lopper_kernels::{Elimination, Precision, SUBSET_LANES, SubsetForms, View, matmul, product};
use reference::{assert_close, assert_threads_agree, assert_tiers_agree, random, to_f64};

/// An upper triangular matrix [n, n] with a positive diagonal.
fn upper(n: usize) -> Vec<f32> {
    let entries = random(n * n, 5);
    let entry = |i: usize, j: usize| if i == j { 1.0 + entries[i * n + j].abs() } else { 0.2 * entries[i * n + j] };
    (0..n * n).map(|ij| if ij % n < ij / n { 0.0 } else { entry(ij / n, ij % n) }).collect()
}

#[test]
fn elimination_is_the_column_by_column_update() {
    for n in [1, 2, 15, 16, 33, 128] {
        let (factor, row) = (upper(n), random(n, 9));
        let kept: Vec<u8> = (0..n).map(|j| u8::from(j % 3 != 1)).collect();
        // in two parts, as groups of N:M come
        let split = n / 2;
        let run = || {
            let (mut w, mut errors) = (row.clone(), vec![7.0; n]);
            let elimination = Elimination::new(&factor, n);
            elimination.eliminate(&mut w, 0, &kept[..split], &mut errors);
            elimination.eliminate(&mut w, split, &kept[split..], &mut errors);
            [w, errors].concat()
        };
        let (u, mut w, mut errors) = (to_f64(&factor), to_f64(&row), vec![0.0; n]);
        for j in (0..n).filter(|&j| kept[j] == 0) {
            errors[j] = w[j] / u[j * n + j];
            (j + 1..n).for_each(|k| w[k] -= errors[j] * u[j * n + k]);
            w[j] = 0.0;
        }
        assert_close(&format!("elimination of {n}"), &run(), &[w, errors].concat(), 1e-4);
        assert_tiers_agree(&format!("elimination of {n}"), 1e-4, run);
    }
}

#[test]
fn subset_losses_are_quadratic_forms() {
    for group in [1, 4, 8, 16] {
        let (pairs, subsets) = (group * (group + 1) / 2, 3 * SUBSET_LANES);
        let (coefficients, w) = (random(pairs * subsets, 3), random(group, 4));
        let run = || {
            let mut losses = vec![0.0; subsets];
            SubsetForms::new(&coefficients, group, subsets).losses(&w, &mut losses);
            losses
        };
        let mut expected = vec![0.0; subsets];
        let mut pair = 0;
        for i in 0..group {
            for j in i..group {
                for (s, loss) in expected.iter_mut().enumerate() {
                    *loss += f64::from(coefficients[pair * subsets + s]) * f64::from(w[i]) * f64::from(w[j]);
                }
                pair += 1;
            }
        }
        assert_close(&format!("losses of {group}"), &run(), &expected, 1e-4);
        assert_tiers_agree(&format!("losses of {group}"), 1e-4, run);
    }
}

#[test]
fn a_product_in_a_new_buffer_is_the_product() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (m, k, n) in [(1, 1, 1), (5, 0, 3), (17, 33, 9), (130, 64, 200)] {
            let (a, b) = (random(m * k, 1), random(n * k, 2));
            let run = || product(View::new(&a, m, k), View::new(&b, n, k).t(), precision);
            let mut expected = vec![9.0; m * n];
            matmul(&mut expected, n, false, View::new(&a, m, k), View::new(&b, n, k).t(), precision);
            assert_eq!(run(), expected, "[{m}, {k}]·[{k}, {n}]");
            assert_threads_agree("product", run);
        }
    }
}
