//! JSON as people have it: with a byte order mark, as Windows editors save it, with `NaN` and infinities, as Python writes them, and with
//! halves of surrogate pairs, as a text has that was cut off within a character.

use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::error::{Error, Result};

/// What JSON calls a character of its own beyond the first 65536: two of these in a row.
const SURROGATES: std::ops::Range<u32> = 0xd800..0xe000;
/// The first of the second halves.
const SECOND_HALVES: u32 = 0xdc00;

/// Reads JSON. A number that is none becomes a list of its name: nobody takes it for a number, a text, or nothing.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn from_slice(bytes: &[u8]) -> Result<Value, String> {
    counted(bytes).map(|(value, _)| value)
}

/// As [`from_slice`], with how many halves of surrogate pairs became replacement characters.
pub(crate) fn counted(bytes: &[u8]) -> Result<(Value, usize), String> {
    let bytes = without_mark(bytes);
    serde_json::from_slice(bytes).map(|value| (value, 0)).or_else(|error| {
        let (repaired, halves) = std::str::from_utf8(bytes).ok().and_then(repaired).ok_or_else(|| error.to_string())?;
        serde_json::from_str(&repaired).map(|value| (value, halves)).map_err(|error| error.to_string())
    })
}

/// Whether bytes begin JSON that goes on beyond them.
pub(crate) fn is_cut_short(bytes: &[u8]) -> bool {
    let is_cut_short = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_err_and(|error| error.is_eof());
    let repaired = || std::str::from_utf8(bytes).ok().and_then(repaired);
    is_cut_short(bytes) || repaired().is_some_and(|(repaired, _)| is_cut_short(repaired.as_bytes()))
}

/// The contents of a file; null where there is none.
///
/// # Errors
/// If it is there and cannot be read.
pub(crate) fn of_file(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    from_slice(&bytes).map_err(|error| Error::Text {
        problem: format!("{}: not JSON: {error}", path.display()),
        hint: Some("fetch the file again".into()),
    })
}

/// Bytes of UTF-8 without the mark that some editors put before them.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The same text in the words of the standard, and how many halves of pairs were replaced; nothing where there is nothing to repair.
fn repaired(text: &str) -> Option<(String, usize)> {
    let (mut repaired, mut halves, mut in_string, mut rest) = (String::with_capacity(text.len()), 0, false, text);
    while let Some(next) = rest.chars().next() {
        let (taken, written) = match next {
            '\\' if in_string => match unit(rest) {
                Some(first) if SURROGATES.contains(&first) => {
                    let is_pair = first < SECOND_HALVES
                        && unit(&rest[6..]).is_some_and(|second| (SECOND_HALVES..SURROGATES.end).contains(&second));
                    halves += usize::from(!is_pair);
                    if is_pair { (12, &rest[..12]) } else { (6, "\\ufffd") }
                }
                _ => {
                    let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
                    (1 + escaped, &rest[..=escaped])
                }
            },
            'N' | 'I' | '-' if !in_string => {
                match ["NaN", "Infinity", "-Infinity"].iter().find(|name| rest.starts_with(**name)) {
                    Some(name) => (name.len(), ["[\"NaN\"]", "[\"infinity\"]"][usize::from(name.len() > 3)]),
                    None => (1, &rest[..1]),
                }
            }
            next => {
                in_string ^= next == '"';
                (next.len_utf8(), &rest[..next.len_utf8()])
            }
        };
        repaired.push_str(written);
        rest = &rest[taken..];
    }
    (repaired != text).then_some((repaired, halves))
}

/// The 16 bits of an escape, `\u` and four digits, that a text begins with.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{counted, from_slice};

    #[test]
    fn what_python_and_windows_write_is_read() {
        let read = |text: &str| from_slice(text.as_bytes());
        assert_eq!(read("\u{feff}{\"a\": 1}"), Ok(json!({"a": 1})));
        assert_eq!(
            read("{\"a\": NaN, \"b\": [-Infinity, Infinity], \"c\": \"NaN \\\" NaN\", \"d\": -1}"),
            Ok(json!({"a": ["NaN"], "b": [["infinity"], ["infinity"]], "c": "NaN \" NaN", "d": -1}))
        );
        let halves = "[\"\\ud83d\\ude00 \\ud83d\\ud83d\\ude00 \\ude00\\ud83d\", \"\\\\ud83d\", \"\\ud83d";
        assert_eq!(
            counted(format!("{halves}\"]").as_bytes()).expect("read"),
            (json!(["😀 \u{fffd}😀 \u{fffd}\u{fffd}", "\\ud83d", "\u{fffd}"]), 4)
        );
        for broken in [halves, "{\"a\": Nan}", "{\"a\": NaN", "", "{\"a\": \"\\ud8", "{\"a\": \"\\ud83d\\u12", "\"\\"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn json_by_the_standard_is_read_as_by_its_reader(text in "[\\[{\"a\\\\u:,d8}\\] ]{0,12}|\"(\\\\u[d0][8c]3d|a|\\\\\\\\|é)*\"") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                prop_assert_eq!(counted(text.as_bytes()), Ok((value, 0)));
            }
        }

        #[test]
        fn any_text_can_be_tried(text in "\\PC*|(\\\\u?|d83d|NaN|\"|-|Infinity|😀)*") {
            let _ = counted(text.as_bytes());
        }
    }
}
