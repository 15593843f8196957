//! config.json of the same model with fewer experts.

use std::path::Path;

use serde_json::{Value, json};

use super::edit::{edits, text, without_ahead};
use super::families::{COUNTS, describe};
use crate::autograd::Routing;
use crate::error::{Error, Result};

/// Families whose readers call the number of experts so, and not otherwise.
const LOCAL: [&str; 5] = ["mixtral", "granitemoe", "granitemoeshared", "granitemoehybrid", "gpt_oss"];
const LOCAL_COUNT: &str = "num_local_experts";

/// A config.json with as many experts in every layer that has such.
///
/// # Errors
/// If it describes no model of this program, or no config.json says that there are so many.
///
/// ```
/// use lopper::model::{describe, with_experts};
///
/// let config = serde_json::json!({"model_type": "mixtral", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
///     "num_attention_heads": 2, "intermediate_size": 32, "num_local_experts": 8, "num_experts_per_tok": 2});
/// let smaller = with_experts("config.json".as_ref(), &config, 6)?;
/// assert_eq!(smaller["num_local_experts"], 6);
/// # Ok::<(), lopper::Error>(())
/// ```
pub fn with_experts(path: &Path, config: &Value, keep: usize) -> Result<Value> {
    let whole = describe(path, config)?;
    let is_of = |edited: &Value| {
        describe(path, edited).is_ok_and(|spec| {
            spec.blocks.iter().zip(&whole.blocks).all(|(block, whole)| {
                block.routing().copied() == whole.routing().map(|&routing| Routing { experts: keep, ..routing })
            })
        })
    };
    let mut said = config.clone();
    for key in COUNTS {
        let within = text(&mut said).get_mut(key).filter(|number| !number.is_null());
        if let Some(number) = within {
            *number = json!(keep);
        }
    }
    // where no key says it, the one that the reader of the family knows
    let by_family = if LOCAL.contains(&whole.family) { LOCAL_COUNT } else { COUNTS[0] };
    let found =
        std::iter::once(said).chain(edits(config, &[by_family], keep)).chain(edits(config, &COUNTS, keep)).find(is_of);
    found.map(without_ahead).ok_or_else(|| Error::Plan {
        problem: format!("no config.json of the family {} says that there are {keep} experts", whole.family),
        hint: Some("prune weights instead: --sparsity, --pattern".into()),
    })
}
