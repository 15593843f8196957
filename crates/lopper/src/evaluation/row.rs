//! A row of a data set, its fields found by name.

use serde_json::Value;

/// Numbers that a float counts with.
const WHOLE: std::ops::Range<f64> = 0.0..9e15;

/// A row: an object with fields, which may hold objects and lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Value);

impl Row {
    /// The value at `path`: names and places in lists, with dots between, as in `choices.text.0`.
    ///
    /// # Errors
    /// If there is none.
    pub fn value(&self, path: &str) -> Result<&Value, String> {
        let mut value = &self.0;
        for part in path.split('.') {
            let found = match value {
                Value::Array(list) => part.parse::<usize>().ok().and_then(|place| list.get(place)),
                other => other.get(part),
            };
            value = found.ok_or_else(|| format!("there is no field `{path}` ({})", self.fields()))?;
        }
        Ok(value)
    }

    fn fields(&self) -> String {
        let names = self.0.as_object().map(|fields| fields.keys().map(|name| format!("`{name}`")).collect());
        let names: Vec<String> = names.unwrap_or_default();
        format!("there is {}", names.join(", "))
    }

    /// The string at `path`.
    ///
    /// # Errors
    /// If there is none.
    pub fn text(&self, path: &str) -> Result<&str, String> {
        self.value(path)?.as_str().ok_or_else(|| format!("`{path}` is not a string"))
    }

    /// The strings of the list at `path`.
    ///
    /// # Errors
    /// If there are none.
    pub fn texts(&self, path: &str) -> Result<Vec<&str>, String> {
        let list = self.value(path)?.as_array().ok_or_else(|| format!("`{path}` is not a list"))?;
        list.iter().map(|item| item.as_str().ok_or_else(|| format!("`{path}` is not a list of strings"))).collect()
    }

    /// The number at `path` that counts choices from 0: a whole number, a string of digits, or false and true as 0 and 1.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn index(&self, path: &str) -> Result<usize, String> {
        let number = match self.value(path)? {
            Value::Bool(value) => Some(u64::from(*value)),
            Value::String(digits) => digits.trim().parse().ok(),
            // pandas writes 1.0 of a column in which something is missing
            other => other.as_u64().or_else(|| {
                other
                    .as_f64()
                    .filter(|number| WHOLE.contains(number) && number.fract() == 0.0)
                    .map(|number| number as u64)
            }),
        };
        number.map(|number| number as usize).ok_or_else(|| format!("`{path}` is not the number of a choice"))
    }

    /// The place of `label` in the list of strings at `path`.
    ///
    /// # Errors
    /// If it is not there.
    pub fn place(&self, path: &str, label: &str) -> Result<usize, String> {
        let labels = self.texts(path)?;
        labels.iter().position(|known| *known == label).ok_or_else(|| format!("{label:?} is not in `{path}`"))
    }
}
