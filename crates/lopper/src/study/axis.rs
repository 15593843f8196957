//! What varies between the runs of a study: a key and its values, or named combinations of several keys.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::settings::{merge, nest};
use super::wrong;
use crate::error::Result;
use crate::text::from_toml;

/// One axis of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// A dotted key such as `pruning.damping`: each value is one of its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Instead of a key, any name: each value is a table of keys, with `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    values: Vec<Value>,
}

/// A place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// For people.
    pub label: String,
    /// If the value is a number.
    pub number: Option<f64>,
    /// What it sets, nested as in a plan.
    pub overlay: Table,
}

/// More parts than the key of any setting has.
const MOST_PARTS: usize = 8;
/// The key of a combination that is its name.
const LABEL: &str = "label";

impl Axis {
    /// Of a key.
    pub fn of_key(key: &str, values: Vec<Value>) -> Self {
        Self { key: Some(key.into()), name: None, values }
    }

    /// From `KEY=VALUE,VALUE`, as on a command line; a value that is not TOML is text.
    ///
    /// # Errors
    /// If there is no `=`.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((key, values)) = text.split_once('=') else {
            return Err(wrong(&format!("the axis {text:?} is not KEY=VALUE,VALUE"), "as in calibration.seed=0,1,2"));
        };
        let value = |text: &str| {
            let parsed = from_toml::<Table>(&format!("value = {text}")).ok();
            parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| text.into())
        };
        let axis = Self::of_key(key.trim(), values.split(',').map(|text| value(text.trim())).collect());
        axis.check()?;
        Ok(axis)
    }

    /// Its key, or its name.
    pub fn name(&self) -> &str {
        self.key.as_deref().or(self.name.as_deref()).unwrap_or_default()
    }

    /// How many values it has.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Its values in their order.
    pub(super) fn coordinates(&self) -> Vec<Coordinate> {
        let mut coordinates: Vec<_> = self.values.iter().map(|value| self.coordinate(value)).collect();
        // paths lose their directories where that leaves them distinct
        let short: Vec<String> = coordinates.iter().map(|one| file_names(&one.label)).collect();
        if self.key.is_some() && short.iter().collect::<BTreeSet<_>>().len() == short.len() {
            coordinates.iter_mut().zip(short).for_each(|(coordinate, short)| coordinate.label = short);
        }
        coordinates
    }

    fn coordinate(&self, value: &Value) -> Coordinate {
        let number = value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64));
        match (&self.key, value) {
            (None, Value::Table(combination)) => {
                let mut overlay = Table::new();
                for (key, value) in combination.iter().filter(|(key, _)| *key != LABEL) {
                    merge(&mut overlay, &nest(key, value.clone()));
                }
                let label = combination.get(LABEL).map_or_else(|| leaves(&overlay), label);
                Coordinate { label, number: None, overlay }
            }
            (key, value) => {
                let overlay = nest(key.as_deref().unwrap_or_default(), value.clone());
                Coordinate { label: label(value), number, overlay }
            }
        }
    }

    /// # Errors
    /// If it is not an axis.
    pub(super) fn check(&self) -> Result<()> {
        let name = self.name();
        if self.key.is_some() == self.name.is_some() {
            return Err(wrong("an axis has either a key or a name", "a key for one setting, a name for combinations"));
        }
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(wrong(&format!("{name:?} is no name for an axis"), "a key looks like pruning.damping"));
        }
        let combinations = self.values.iter().filter_map(Value::as_table).flat_map(Table::keys);
        if let Some(key) =
            combinations.map(String::as_str).chain([name]).find(|key| key.split('.').count() > MOST_PARTS)
        {
            return Err(wrong(
                &format!("{key:?} is no key: it has too many parts"),
                "a key looks like pruning.damping",
            ));
        }
        if self.values.is_empty() {
            return Err(wrong(&format!("the axis {name} has no values"), "leave the axis out, or give it some"));
        }
        if let Some(value) = self.values.iter().find(|value| self.key.is_none() && !value.is_table()) {
            let problem =
                format!("the axis {name} has a name and no key, but its value {value} is not a table of keys");
            return Err(wrong(&problem, "as in { label = \"x\", \"pruning.criterion\" = \"wanda\" }"));
        }
        let mut seen = BTreeSet::new();
        match self
            .coordinates()
            .into_iter()
            .map(|coordinate| coordinate.label)
            .find(|label| !seen.insert(label.clone()))
        {
            Some(label) => Err(wrong(&format!("the axis {name} has {label} twice"), "")),
            None => Ok(()),
        }
    }
}

/// The last parts of paths joined by `+`.
fn file_names(label: &str) -> String {
    label.split('+').map(|path| path.rsplit('/').next().unwrap_or(path)).collect::<Vec<_>>().join("+")
}

/// A value for people.
fn label(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if *number != 0.0 && !(1e-3..1e6).contains(&number.abs()) => format!("{number:e}"),
        Value::Float(number) => number.to_string(),
        Value::Array(items) if items.is_empty() => "built-in".into(),
        Value::Array(items) => items.iter().map(label).collect::<Vec<_>>().join("+"),
        other => other.to_string(),
    }
}

/// Every value of a table of tables.
fn leaves(table: &Table) -> String {
    let leaf = |value: &Value| value.as_table().map_or_else(|| label(value), leaves);
    table.values().map(leaf).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn an_axis_from_the_command_line_has_values_of_the_kinds_they_look_like() {
        let axis = Axis::parse("calibration.seqlen = 128, 1e-5,2:4, wiki.txt").expect("valid");
        let coordinates = axis.coordinates();
        let labels: Vec<&str> = coordinates.iter().map(|coordinate| coordinate.label.as_str()).collect();
        assert_eq!(labels, ["128", "1e-5", "2:4", "wiki.txt"]);
        assert_eq!(coordinates[1].number, Some(1e-5));
        assert_eq!(coordinates[2].number, None);
        assert_eq!(coordinates[0].overlay["calibration"]["seqlen"].as_integer(), Some(128));
        for text in ["calibration.seed", "=1", "a..b=1", "a=1,1"] {
            assert!(Axis::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_shown_by_their_names_where_those_differ() {
        let labels = |text: &str| {
            let coordinates = Axis::parse(text).expect("axis").coordinates();
            coordinates.into_iter().map(|coordinate| coordinate.label).collect::<Vec<_>>()
        };
        assert_eq!(labels("calibration.files=a/c4.txt,b/wiki.txt"), ["c4.txt", "wiki.txt"]);
        assert_eq!(labels("calibration.files=a/x.txt,b/x.txt"), ["a/x.txt", "b/x.txt"]);
        assert_eq!(labels("calibration.files=[\"a/x.txt\"]"), ["x.txt"]);
    }

    #[test]
    fn a_combination_sets_several_keys_quoted_or_not() {
        let text = "name = 'm'\n[[values]]\nlabel = 'both'\n'pruning.criterion' = 'wanda'\npruning.swaps = 3\n[[values]]\npruning.criterion = 'random'\n";
        let axis: Axis = toml::from_str(text).expect("an axis");
        axis.check().expect("valid");
        let [both, one] = <[_; 2]>::try_from(axis.coordinates()).expect("two");
        assert_eq!((both.label.as_str(), one.label.as_str()), ("both", "random"));
        assert_eq!(both.overlay.to_string(), "[pruning]\ncriterion = \"wanda\"\nswaps = 3\n");
    }
}
