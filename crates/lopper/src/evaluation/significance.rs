//! Whether a difference between two models that were asked the same is more than chance.
//!
//! For answers that are right or wrong, the exact test of McNemar (Q. McNemar, 1947, Psychometrika 12, 153–157): of the n questions
//! that only one model got right, each model gets Binomial(n, ½) if neither is better. For numbers, the paired t-test.

/// Two-sided probability that of `only_first + only_second` questions, each a fair coin, the smaller count is as small or smaller.
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let (n, few) = (only_first + only_second, only_first.min(only_second));
    let mut log_probability = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=few {
        tail += log_probability.exp();
        log_probability += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Two-sided probability of a mean as far from 0 as that of `differences`, if they are normal with mean 0; `None` with fewer than
/// two, or where all are equal.
pub fn paired_t(differences: &[f64]) -> Option<f64> {
    let (mean, error) = super::scores::mean_and_error(differences);
    let error = error.filter(|error| *error > 0.0)?;
    let freedom = differences.len() as f64 - 1.0;
    let t = mean / error;
    Some(regularised_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5))
}

/// `I_x(a, b)`, the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22) in Lentz's way.
fn regularised_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularised_beta(1.0 - x, b, a);
    }
    let front = (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let coefficient = |step: usize| {
        let m = (step / 2) as f64;
        if step.is_multiple_of(2) {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        }
    };
    // Lentz: 1 + d₁/(1 + d₂/(1 + …)) is the product of c·d, ratios of successive numerators and denominators
    let (mut c, mut d, mut fraction) = (1.0, 0.0, 1.0);
    for step in 1..500 {
        d = 1.0 / (1.0 + coefficient(step) * d);
        c = 1.0 + coefficient(step) / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front / fraction
}

/// `log Γ(x)` for x > 0: Stirling's series (DLMF 5.11.1) after shifting x above 10.
fn log_gamma(x: f64) -> f64 {
    let (mut shift, mut x) = (0.0, x);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::{log_gamma, mcnemar, paired_t, regularised_beta};

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-10 * want.abs(), "{got} against {want}");
    }

    #[test]
    fn mcnemar_is_the_binomial_tail() {
        // scipy.stats.binomtest(k, n, 0.5).pvalue
        close(mcnemar(0, 5), 0.0625);
        close(mcnemar(10, 3), 0.092_285_156_25);
        close(mcnemar(40, 60), 0.056_887_933_640_980_89);
        close(mcnemar(1, 0), 1.0);
        close(mcnemar(0, 0), 1.0);
        close(mcnemar(3, 3), 1.0);
    }

    #[test]
    fn t_test_and_its_functions() {
        // scipy.special.gammaln, betainc, scipy.stats.ttest_1samp
        close(log_gamma(0.5), 0.572_364_942_924_7);
        close(log_gamma(3.25), 0.935_801_931_108_725_3);
        close(log_gamma(100.0), 359.134_205_369_575_4);
        close(regularised_beta(0.3, 2.5, 0.5), 0.018_927_124_071_945_658);
        close(regularised_beta(0.9, 2.5, 0.5), 0.489_589_744_564_427_55);
        close(regularised_beta(0.99, 50.0, 0.5), 0.317_304_397_874_197_3);
        close(paired_t(&[0.1, 0.3, -0.05, 0.2]).expect("a test"), 0.162_733_109_824_293_5);
        close(paired_t(&[1.0, 2.0]).expect("a test"), 0.204_832_764_699_133_45);
        close(paired_t(&[0.01, -0.02, 0.015, 0.0, 0.03, -0.01, 0.02]).expect("a test"), 0.368_414_146_352_792_74);
        assert_eq!(paired_t(&[0.5]), None);
        assert_eq!(paired_t(&[0.5, 0.5]), None);
    }
}
