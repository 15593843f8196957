//! Numbers for people: as many digits as say something.

use crate::evaluation::{Measure, Metric};

/// A perplexity, with four significant digits.
pub fn perplexity(value: f64) -> String {
    significant(value, 4)
}

/// How many times `reference` a value is, with three significant digits.
pub fn ratio(value: f64, reference: f64) -> String {
    format!("×{}", significant(value / reference, 3))
}

fn significant(value: f64, digits: i32) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "not a number".into() } else { "infinite".into() };
    }
    if value.abs() >= 1e6 {
        return format!("{value:.2e}");
    }
    let integer_digits = if value.abs() < 1.0 { 1 } else { value.abs().log10().floor() as i32 + 1 };
    let decimals = (digits - integer_digits).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A number of things: 1,234,567.
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Numbers in order, those in a row together: 20–23, 27.
pub fn ranges(numbers: &[usize]) -> String {
    let rows = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let said = rows.map(|row| match row {
        [first, .., last] => format!("{first}–{last}"),
        _ => row.iter().map(usize::to_string).collect(),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A number of parameters: 134.5 M.
pub fn magnitude(n: usize) -> String {
    let n = n as f64;
    match n {
        _ if n >= 1e9 => format!("{} G", significant(n / 1e9, 4)),
        _ if n >= 1e6 => format!("{} M", significant(n / 1e6, 4)),
        _ if n >= 1e3 => format!("{} k", significant(n / 1e3, 4)),
        _ => format!("{n}"),
    }
}

/// Floating-point operations: 269 MFLOP.
pub fn flops(n: f64) -> String {
    let units = [(1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")];
    let (size, unit) = units.into_iter().find(|(size, _)| n >= *size).unwrap_or((1.0, "FLOP"));
    format!("{} {unit}", significant(n / size, 3))
}

/// Bytes: 1.52 GiB.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (n.max(1).ilog2() as usize / 10).min(4);
    if step == 0 {
        return format!("{n} B");
    }
    format!("{} {}", significant(n as f64 / (1_u64 << (10 * step)) as f64, 3), units[step])
}

/// A duration: 0.4 s, 41 s, 12 min 5 s, 3 h 20 min.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        ..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A share: 50 %, 49.97 %.
pub fn percent(share: f64) -> String {
    let percent = (share * 1e4).round() / 1e2;
    format!("{percent} %")
}

/// A metric of a task with its standard error: 62.50 ± 1.13 of a hundred, or a perplexity.
pub fn measure(measure: &Measure) -> String {
    let number = |value: f64| match measure.metric {
        Metric::Perplexity => perplexity(value),
        Metric::Acc | Metric::AccNorm => format!("{:.2}", 100.0 * value),
    };
    let error = measure.standard_error.map_or_else(String::new, |error| format!(" ± {}", number(error)));
    number(measure.value) + &error
}

/// A probability: 0.034, below 0.001.
pub fn probability(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, magnitude, percent, perplexity, ranges, ratio, seconds};

    #[test]
    fn perplexities_keep_four_digits() {
        let shown = [5.68051, 12.3456, 123.456, 98_765.4, 2.5e7, f64::NAN].map(perplexity);
        assert_eq!(shown, ["5.681", "12.35", "123.5", "98765", "2.50e7", "not a number"]);
        assert_eq!(ratio(12.0, 10.0), "×1.20");
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([17, 134_515_008, 1_100_048_384].map(magnitude), ["17", "134.5 M", "1.100 G"]);
        assert_eq!(
            [0, 1023, 1024, 1_635_000_000, 1 << 44].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "1.52 GiB", "16.0 TiB"]
        );
    }

    #[test]
    fn numbers_in_a_row_are_said_together() {
        assert_eq!(ranges(&[20, 21, 22, 23, 27]), "20–23, 27");
        // those of a report may be any
        assert_eq!(ranges(&[usize::MAX - 1, usize::MAX, 0]), format!("{}–{}, 0", usize::MAX - 1, usize::MAX));
    }

    #[test]
    fn durations_and_shares() {
        assert_eq!(
            [0.04, 9.96, 59.4, 60.0, 725.0, 12_000.0].map(seconds),
            ["0.0 s", "10 s", "59 s", "1 min 0 s", "12 min 5 s", "3 h 20 min"]
        );
        assert_eq!([0.5, 0.499_71, 0.0].map(percent), ["50 %", "49.97 %", "0 %"]);
    }
}
