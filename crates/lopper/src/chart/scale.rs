//! From a value to a place on an axis, and where its ticks stand.

/// An axis of numbers, linear or logarithmic, with some room at both ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

/// Room at both ends of an axis, as a share of what it shows.
const ROOM: f64 = 0.06;
/// More ticks than this are too many.
const MOST_TICKS: usize = 8;

impl Scale {
    /// For these values; logarithmic if they are positive and the largest is at least `decades` times the smallest.
    pub fn of(values: &[f64], decades: f64) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self { low: 0.0, high: 1.0, logarithmic: false };
        }
        if low > 0.0 && high / low >= decades {
            let room = (high / low).powf(ROOM);
            return Self { low: low / room, high: high * room, logarithmic: true };
        }
        let spread = if high > low { (high - low) * ROOM } else { (0.1 * high.abs()).max(1e-9) };
        // room alone takes no axis below zero
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self { low: (low - spread).max(floor), high: high + spread, logarithmic: false }
    }

    /// Where a value stands, 0 at the low end and 1 at the high one; beyond the ends, at the end.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            if value <= 0.0 { 0.0 } else { (value / self.low).ln() / (self.high / self.low).ln() }
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values on the axis, and what to write there.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let mut values = if self.logarithmic { self.decades() } else { Vec::new() };
        if values.len() < 3 {
            values = self.steps();
        }
        values.into_iter().map(|value| (value, label(value))).collect()
    }

    /// Multiples of a round step.
    fn steps(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= rough).unwrap_or(10.0);
        let step = factor * magnitude;
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|multiple| multiple as f64 * step).collect()
    }

    /// Powers of ten with as many multiples between as there is room for.
    fn decades(&self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let with = |multiples: &[f64]| -> Vec<f64> {
            let all = (first..=last).flat_map(|power| multiples.iter().map(move |factor| factor * 10_f64.powi(power)));
            all.filter(|value| (self.low..=self.high).contains(value)).collect()
        };
        let candidates = [with(&[1.0, 2.0, 5.0]), with(&[1.0, 3.0])];
        let fitting = candidates.into_iter().find(|values| values.len() <= MOST_TICKS);
        fitting.unwrap_or_else(|| {
            let powers = with(&[1.0]);
            let stride = powers.len().div_ceil(MOST_TICKS);
            powers.into_iter().step_by(stride).collect()
        })
    }
}

/// A tick's number: as short as it can be, powers of ten beyond five digits.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e5).contains(&size) {
        let rounded = (value * 1e9).round() / 1e9;
        return format!("{rounded}").replace('-', "−");
    }
    let (mut power, mut mantissa) = (size.log10().floor() as i32, 0.0);
    for _ in 0..2 {
        mantissa = (value / 10_f64.powi(power) * 100.0).round() / 100.0;
        // rounding may have reached the next power
        power += i32::from(mantissa.abs() >= 10.0);
    }
    let power: String = power.to_string().chars().map(superscript).collect();
    if (mantissa - 1.0).abs() < 1e-9 {
        format!("10{power}")
    } else {
        format!("{mantissa}·10{power}").replace('-', "−")
    }
}

fn superscript(digit: char) -> char {
    match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        _ => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(digit),
    }
}

#[cfg(test)]
mod tests {
    use super::{Scale, label};

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_as_many_as_fit() {
        assert_eq!(labels(&Scale::of(&[12.0, 19.0], 20.0)), ["12", "14", "16", "18"]);
        assert_eq!(labels(&Scale::of(&[0.0, 1.0], 20.0)), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(labels(&Scale::of(&[1e-4, 1.0], 20.0)), ["10⁻⁴", "0.001", "0.01", "0.1", "1"]);
        for values in [[3.0, 3.0], [0.0, 0.0], [-2.0, 5.0], [1e-12, 1e12], [1.0, 25.0]] {
            let ticks = Scale::of(&values, 20.0).ticks();
            assert!((2..=9).contains(&ticks.len()), "{values:?}: {ticks:?}");
        }
    }

    #[test]
    fn places_keep_order_and_stay_on_the_axis() {
        for scale in [Scale::of(&[1.0, 1000.0], 20.0), Scale::of(&[1.0, 10.0], 20.0)] {
            let places = [-5.0, 0.0, 1.0, 3.0, 9.0, 1e9].map(|value| scale.place(value));
            assert!(places.is_sorted() && places[0] < 1e-9 && places[5] > 1.0 - 1e-9 && places[2] > 0.0, "{places:?}");
        }
        let scale = Scale::of(&[1.0, 10_000.0], 20.0);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-12, "the geometric middle is in the middle");
    }

    #[test]
    fn labels_are_short() {
        let shown = [0.0, 0.1 + 0.2, 128.0, -2.5, 1e-4, 3e-4, 1e6, 0.000_999_999].map(label);
        assert_eq!(shown, ["0", "0.3", "128", "−2.5", "10⁻⁴", "3·10⁻⁴", "10⁶", "10⁻³"]);
    }
}
