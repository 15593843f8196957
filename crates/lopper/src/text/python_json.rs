//! JSON as `json.dumps` of Python writes it.

use serde_json::{Number, Value};

/// How JSON is written.
pub(super) struct Dump {
    /// Spaces before what is one level within; `None`: all in one line.
    pub indent: Option<usize>,
    /// Between entries.
    pub item: String,
    /// Between a key and its value.
    pub key: String,
    /// Whether keys are sorted.
    pub sorted: bool,
    /// Whether other letters than those of ASCII are escaped.
    pub ascii: bool,
}

impl Dump {
    /// Writes a value that is so deep within others.
    pub fn write(&self, value: &Value, depth: usize, text: &mut String) {
        let mut items: Vec<(Option<&String>, &Value)> = match value {
            Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
            Value::Object(items) => items.iter().map(|(key, item)| (Some(key), item)).collect(),
            Value::Number(number) => return text.push_str(&python_number(number)),
            other => return text.push_str(&self.plain(other)),
        };
        if self.sorted && value.is_object() {
            items.sort_by_key(|(key, _)| *key);
        }
        let [open, close] = if value.is_array() { ['[', ']'] } else { ['{', '}'] };
        let line = |depth: usize, text: &mut String| {
            if let Some(indent) = self.indent.filter(|_| !items.is_empty()) {
                text.push('\n');
                text.push_str(&" ".repeat(indent * depth));
            }
        };
        text.push(open);
        for (place, (key, item)) in items.iter().enumerate() {
            if place > 0 {
                text.push_str(&self.item);
            }
            line(depth + 1, text);
            if let Some(key) = key {
                text.push_str(&(self.plain(&Value::from(key.as_str())) + &self.key));
            }
            self.write(item, depth + 1, text);
        }
        line(depth, text);
        text.push(close);
    }

    /// What is neither list nor object nor number.
    fn plain(&self, value: &Value) -> String {
        let escaped = |letter: char| -> String {
            let mut units = [0; 2];
            if letter.is_ascii() {
                return letter.into();
            }
            letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        };
        let text = value.to_string();
        if self.ascii { text.chars().map(escaped).collect() } else { text }
    }
}

/// A number as Python writes it: a float with the fewest digits that tell it, and with an exponent of two digits where that is below -4 or above 15.
fn python_number(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let digits = format!("{float:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    match exponent.parse::<i32>() {
        Ok(-4..=15) => format!("{float:?}"),
        Ok(exponent) => format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        Err(_) => digits,
    }
}
