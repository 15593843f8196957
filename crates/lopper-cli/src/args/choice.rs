//! A choice of the library as a choice on the command line: the names are those of the plan's TOML.

use std::ops::RangeInclusive;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use lopper::method::METHODS;
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// Accepts one of `names`, each of which is a variant of `T` as serde spells it.
pub fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    names: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name| {
        let name: StrDeserializer<Error> = name.as_str().into_deserializer();
        T::deserialize(name)
    })
}

/// Accepts the name of a criterion.
pub fn criterion() -> PossibleValuesParser {
    PossibleValuesParser::new(
        CRITERIA.iter().map(|criterion| PossibleValue::new(criterion.name).help(criterion.summary)),
    )
}

/// Accepts the name of a method of the literature.
pub fn method() -> PossibleValuesParser {
    PossibleValuesParser::new(METHODS.iter().map(|one| PossibleValue::new(one.name).help(one.summary)))
}

/// Accepts the name of a compensation.
pub fn compensation() -> PossibleValuesParser {
    PossibleValuesParser::new(COMPENSATIONS.iter().map(|one| PossibleValue::new(one.name).help(one.summary)))
}

/// Numbers of blocks: 27, or 20-23.
///
/// # Errors
/// If they are none.
pub fn blocks(text: &str) -> Result<RangeInclusive<usize>, String> {
    let number = |text: &str| text.trim().parse().map_err(|_| "blocks are given as 20-23,27".to_owned());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    if range.is_empty() { Err("the first block of a range is beyond the last".into()) } else { Ok(range) }
}
