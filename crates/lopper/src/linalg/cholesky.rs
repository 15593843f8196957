//! Small systems with a positive definite matrix, in f64.

use lopper_kernels::cholesky;

/// Solves `matrix·x = right` in place; `matrix` [n, n], of which the lower triangle is read, is destroyed. False if it is not positive
/// definite.
pub fn solve(matrix: &mut [f64], right: &mut [f64]) -> bool {
    let definite = cholesky(matrix, right.len());
    if definite {
        substitute(matrix, right);
    }
    definite
}

/// The inverse of `matrix` [n, n], of which the lower triangle is read; `None` if it is not positive definite.
pub fn inverse(mut matrix: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    if !cholesky(&mut matrix, n) {
        return None;
    }
    // symmetric: its rows are its columns
    let mut inverse = vec![0.0; n * n];
    for (at, row) in inverse.chunks_exact_mut(n.max(1)).enumerate() {
        row[at] = 1.0;
        substitute(&matrix, row);
    }
    Some(inverse)
}

/// Solves `SᵀS·x = right` in place: Sᵀ from the last row up, then S from the first down.
fn substitute(factor: &[f64], right: &mut [f64]) {
    let n = right.len();
    for at in (0..n).rev() {
        let (rest, row) = (&mut right[..=at], &factor[at * n..][..=at]);
        let x = rest[at] / row[at];
        rest.iter_mut().zip(row).for_each(|(rest, s)| *rest -= x * s);
        rest[at] = x;
    }
    for at in 0..n {
        let row = &factor[at * n..][..=at];
        let sum: f64 = right.iter().zip(&row[..at]).map(|(x, s)| x * s).sum();
        right[at] = (right[at] - sum) / row[at];
    }
}

#[cfg(test)]
mod tests {
    use super::{inverse, solve};

    #[test]
    fn inverts_and_solves() {
        for n in [1, 2, 5, 16, 33] {
            let entry = |i: usize, j: usize| if i == j { 3.0 + i as f64 } else { 1.0 / (1 + i + j) as f64 };
            let matrix: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
            let columns = inverse(matrix.clone(), n).expect("positive definite");
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n).map(|k| entry(i, k) * columns[k * n + j]).sum();
                    assert!((sum - f64::from(u8::from(i == j))).abs() < 1e-13, "{n}: {i} {j}: {sum}");
                }
            }
            let mut right: Vec<f64> = (0..n).map(|i| (0..n).map(|j| entry(i, j) * j as f64).sum()).collect();
            assert!(solve(&mut matrix.clone(), &mut right));
            assert!(right.iter().enumerate().all(|(j, x)| (x - j as f64).abs() < 1e-11), "{n}: {right:?}");
        }
        let singular = vec![1.0, 1.0, 1.0, 1.0];
        assert!(inverse(singular.clone(), 2).is_none() && !solve(&mut singular.clone(), &mut [1.0, 1.0]));
    }
}
