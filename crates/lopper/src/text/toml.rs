//! Settings from TOML.

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Tables and lists within each other; settings need half of it.
const DEEPEST: usize = 16;

/// Reads settings. TOML may nest some thousand levels deep, for which its reader, and whoever handles what it has read, would
/// take a stack as deep.
///
/// # Errors
/// What is wrong with the text, and where.
pub(crate) fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if is_deep(text) {
        return Err(format!("tables and lists are nested more than {DEEPEST} levels deep"));
    }
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

/// Whether something nests too deep. Takes what is read apart level by level: dropped as a whole it would take the same stack.
fn is_deep(text: &str) -> bool {
    let (table, mut deep) = (DeTable::parse_recoverable(text).0.into_inner(), false);
    let mut open = vec![(DeValue::Table(table), 1)];
    while let Some((value, depth)) = open.pop() {
        deep |= depth > DEEPEST;
        match value {
            DeValue::Table(table) => open.extend(table.into_iter().map(|(_, inner)| (inner.into_inner(), depth + 1))),
            DeValue::Array(list) => open.extend(list.into_iter().map(|inner| (inner.into_inner(), depth + 1))),
            _ => {}
        }
    }
    deep
}
