//! Numbers as English words, from zero to nine hundred and ninety-nine.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const ORDINALS: [&str; 12] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
];

/// The words for `number`, which is below one thousand.
///
/// ```
/// assert_eq!(lopper_demo::number_words(342), "three hundred and forty-two");
/// ```
///
/// # Panics
/// When `number` is one thousand or more.
pub fn number_words(number: u32) -> String {
    assert!(number < 1000, "number words reach from 0 to 999");
    let (hundreds, rest) = (number / 100, number % 100);
    match (hundreds, rest) {
        (0, _) => below_hundred(rest),
        (_, 0) => format!("{} hundred", below_hundred(hundreds)),
        _ => format!("{} hundred and {}", below_hundred(hundreds), below_hundred(rest)),
    }
}

fn below_hundred(number: u32) -> String {
    let (tens, units) = ((number / 10) as usize, (number % 10) as usize);
    match (tens, units) {
        (0 | 1, _) => SMALL[number as usize].to_owned(),
        (_, 0) => TENS[tens].to_owned(),
        _ => format!("{}-{}", TENS[tens], SMALL[units]),
    }
}

/// `first` for 1 up to `twelfth` for 12.
pub(crate) fn ordinal(number: usize) -> &'static str {
    ORDINALS[number - 1]
}

#[cfg(test)]
mod tests {
    use super::{number_words, ordinal};

    #[test]
    fn corner_cases() {
        let cases = [
            (0, "zero"),
            (13, "thirteen"),
            (40, "forty"),
            (99, "ninety-nine"),
            (100, "one hundred"),
            (101, "one hundred and one"),
            (999, "nine hundred and ninety-nine"),
        ];
        for (number, words) in cases {
            assert_eq!(number_words(number), words);
        }
        assert_eq!(ordinal(12), "twelfth");
    }

    #[test]
    fn every_number_has_words_of_its_own() {
        let all: std::collections::BTreeSet<String> = (0..1000).map(number_words).collect();
        assert_eq!(all.len(), 1000);
    }
}
