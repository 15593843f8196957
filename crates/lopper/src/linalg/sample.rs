//! What a sample says of the numbers that it was drawn from.

/// The mean x̄ of n numbers and their sample variance `Σ(x − x̄)²/(n − 1)`; no variance of fewer than two.
pub fn mean_and_variance(numbers: &[f64]) -> (f64, Option<f64>) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (numbers.len() > 1).then(|| squares / (count - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::mean_and_variance;

    #[test]
    fn is_the_definition() {
        assert_eq!(mean_and_variance(&[2.0, 4.0, 6.0]), (4.0, Some(4.0)));
        assert_eq!(mean_and_variance(&[3.0]), (3.0, None));
        assert!(mean_and_variance(&[]).0.is_nan());
    }
}
