//! Settings as TOML: base and overlays merged, then read as what they are for.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::axis::Coordinate;
use super::wrong;
use crate::error::Result;

/// `a.b.c` and a value as nested tables.
pub(super) fn nest(key: &str, value: Value) -> Table {
    let (outer, value) = match key.split_once('.') {
        Some((outer, inner)) => (outer, Value::Table(nest(inner, value))),
        None => (key, value),
    };
    [(outer.to_owned(), value)].into_iter().collect()
}

/// Overwrites what `overlay` names; tables are merged.
pub(super) fn merge(table: &mut Table, overlay: &Table) {
    for (key, value) in overlay {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(overlay)) => merge(inner, overlay),
            _ => drop(table.insert(key.clone(), value.clone())),
        }
    }
}

/// The value of a dotted key.
pub(super) fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((outer, inner)) => at(table.get(outer)?.as_table()?, inner),
        None => table.get(key),
    }
}

/// The dotted keys of all values that are not tables.
pub(super) fn keys(table: &Table) -> Vec<String> {
    let inner = |(key, value): (&String, &Value)| match value {
        Value::Table(table) => keys(table).into_iter().map(|inner| format!("{key}.{inner}")).collect(),
        _ => vec![key.clone()],
    };
    table.iter().flat_map(inner).collect()
}

/// Reads settings; a single value where `defaults` has a list is a list of one.
pub(super) fn read<T: DeserializeOwned>(mut settings: Table, defaults: &Table, what: &str) -> Result<T> {
    listed(&mut settings, defaults);
    settings.try_into().map_err(|error: toml::de::Error| {
        wrong(&format!("{what}: {}", error.to_string().trim_end().replace('\n', " ")), HINT)
    })
}

fn listed(settings: &mut Table, defaults: &Table) {
    for (key, value) in settings.iter_mut() {
        match (defaults.get(key), &mut *value) {
            (Some(Value::Table(defaults)), Value::Table(inner)) => listed(inner, defaults),
            (Some(Value::Array(_)), single) if !single.is_array() => *value = Value::Array(vec![value.clone()]),
            _ => {}
        }
    }
}

/// What a run of the grid is called: `damping 0.01, seed 2`.
pub(super) fn describe(titles: &[String], point: &[Coordinate]) -> String {
    let named = titles.iter().zip(point).map(|(title, coordinate)| format!("{title} {}", coordinate.label));
    named.collect::<Vec<_>>().join(", ")
}

const HINT: &str = "`lopper explain MODEL --print-plan` writes a plan to start from";

#[cfg(test)]
mod tests {
    use super::{at, keys, merge, nest, read};
    use crate::plan::Plan;
    use toml::Table;

    #[test]
    fn later_settings_win_and_leave_the_others_alone() {
        let mut table: Table = "[a]\nx = 1\ny = 2\n[b]\nz = 3".parse().expect("TOML");
        merge(&mut table, &nest("a.x", 7.into()));
        merge(&mut table, &nest("c", true.into()));
        assert_eq!(keys(&table), ["a.x", "a.y", "b.z", "c"]);
        assert_eq!((at(&table, "a.x"), at(&table, "a.y")), (Some(&7.into()), Some(&2.into())));
        assert_eq!((at(&table, "a.q"), at(&table, "a.x.q")), (None, None));
    }

    #[test]
    fn settings_are_read_as_a_plan_and_mistakes_are_named() {
        let defaults: Table = Plan::default().to_toml().expect("TOML").parse().expect("TOML");
        let plan = |key: &str, value: toml::Value| read::<Plan>(nest(key, value), &defaults, "run 1");
        let files = plan("calibration.files", "a.txt".into()).expect("a list of one").calibration.files;
        assert_eq!(files, [std::path::PathBuf::from("a.txt")]);
        let damping = plan("pruning.damping", 2.into()).expect("an integer is a number").pruning.damping;
        assert!((damping.expect("given") - 2.0).abs() < 1e-12);
        for (key, value) in [("pruning.dampin", 1.0.into()), ("pruning.damping", toml::Value::from("much"))] {
            let message = plan(key, value).expect_err("refused").to_string();
            assert!(
                message.contains("run 1") && (message.contains("dampin`") || message.contains("much")),
                "{message}"
            );
        }
    }
}
