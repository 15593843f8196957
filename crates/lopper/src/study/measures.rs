//! What is read off a run. A study plots one of these; its tables have all that were found.

use super::wrong;
use crate::error::Result;

/// A number read off a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// In studies and JSON.
    pub name: &'static str,
    /// In tables and plots, with its unit.
    pub title: &'static str,
    /// A value is divided by this before it is shown.
    pub unit: f64,
}

/// Every measure this program knows, in the order of the columns of a table.
pub const MEASURES: &[Measure] = &[
    Measure { name: "perplexity", title: "perplexity", unit: 1.0 },
    Measure { name: "dense", title: "perplexity, dense", unit: 1.0 },
    Measure { name: "sparsity", title: "zeros in %", unit: 0.01 },
    Measure { name: "parameters", title: "parameters in M", unit: 1e6 },
    Measure { name: "bytes", title: "size in MiB", unit: 1_048_576.0 },
    Measure { name: "error_pruned", title: "output error, masked", unit: 1.0 },
    Measure { name: "error_compensated", title: "output error, compensated", unit: 1.0 },
    Measure { name: "error_reconstructed", title: "output error, reconstructed", unit: 1.0 },
    Measure { name: "iterations", title: "iterations", unit: 1.0 },
    Measure { name: "seconds", title: "time in s", unit: 1.0 },
    Measure { name: "seconds_per_row", title: "time per row in ms", unit: 1e-3 },
    Measure { name: "peak_memory", title: "peak memory in MiB", unit: 1_048_576.0 },
    Measure { name: "warnings", title: "warnings", unit: 1.0 },
];

impl Measure {
    /// By name.
    ///
    /// # Errors
    /// If there is none of that name; the hint lists them.
    pub fn by_name(name: &str) -> Result<&'static Self> {
        MEASURES.iter().find(|measure| measure.name == name).ok_or_else(|| {
            let known: Vec<_> = MEASURES.iter().map(|measure| measure.name).collect();
            wrong(&format!("there is no measure {name:?}"), &format!("known: {}", known.join(", ")))
        })
    }
}

/// A number with so many significant digits; whole numbers as they are.
pub(super) fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "not a number".into() } else { "infinite".into() };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.*e}", (digits - 1).max(0) as usize);
    }
    if value.fract() == 0.0 {
        return format!("{value}");
    }
    format!("{value:.*}", decimals(size, digits))
}

/// A mean and its standard deviation, with the digits that the deviation leaves a meaning: two of its own, at most five
/// of the mean.
pub(super) fn with_deviation(mean: f64, deviation: f64) -> String {
    let scientific = !(1e-4..1e7).contains(&mean.abs());
    if !(mean.is_finite() && deviation.is_finite()) || deviation == 0.0 || scientific {
        return format!("{} ± {}", significant(mean, 4), significant(deviation, 2));
    }
    let shown = decimals(deviation, 2).min(decimals(mean.abs(), 5));
    let deviation = if deviation < 10_f64.powf(-(shown as f64)) {
        significant(deviation, 1)
    } else {
        format!("{deviation:.shown$}")
    };
    format!("{mean:.shown$} ± {deviation}")
}

/// Decimals that show so many significant digits of a number of this size.
fn decimals(size: f64, digits: i32) -> usize {
    (digits - 1 - size.log10().floor() as i32).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::{significant, with_deviation};

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let shown = [12.3456, 0.001_234_56, 3.0, 123_456.7, 1.5e-7, f64::NAN].map(|value| significant(value, 4));
        assert_eq!(shown, ["12.35", "0.001235", "3", "123457", "1.500e-7", "not a number"]);
        assert_eq!(with_deviation(12.3456, 0.0567), "12.346 ± 0.057");
        assert_eq!(with_deviation(12.3456, 3.21), "12.3 ± 3.2");
        assert_eq!(with_deviation(1234.5, 210.0), "1234 ± 210");
        assert_eq!(with_deviation(85.123_456, 0.000_12), "85.123 ± 0.0001");
        assert_eq!(with_deviation(12.5, 0.0), "12.50 ± 0");
        assert_eq!(with_deviation(1.5e-7, 2e-9), "1.500e-7 ± 2.0e-9");
    }
}
