//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

/// Units and their bytes, from the largest of each kind.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// A number of bytes: `24GB`, `1.5 GiB`, `500MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: give a number and a unit, as 24GB or 1.5GiB");
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?);
        let same = |name: &str| name.eq_ignore_ascii_case(unit.trim());
        let (_, bytes) = UNITS.iter().find(|(name, _)| same(name)).ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let size = number * *bytes as f64;
        if number.is_finite() && (1.0..u64::MAX as f64).contains(&size) { Ok(Self(size as u64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that it is a whole number of.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let whole = UNITS.iter().filter(|(_, bytes)| self.0.is_multiple_of(*bytes));
        let (name, bytes) = whole.max_by_key(|(_, bytes)| *bytes).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl serde::Serialize for ByteSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("24GB", 24_000_000_000), ("1.5 GiB", 3 << 29), ("500mb", 500_000_000), ("7 B", 7), ("0.5TiB", 1 << 39)]
        {
            let size: ByteSize = text.parse().expect("a size");
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{size}");
        }
        assert_eq!(ByteSize(24_000_000_000).to_string(), "24GB");
        for wrong in ["", "24", "GB", "-1GB", "1e99GB", "nanGB", "2 apples", "0GB", "1G B"] {
            let said = wrong.parse::<ByteSize>().expect_err(wrong);
            assert!(said.contains("24GB"), "{said}");
        }
    }
}
