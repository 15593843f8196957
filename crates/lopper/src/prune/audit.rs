//! The last word before success: the files written are reopened, and every promise about them is checked.

use std::collections::BTreeMap;

use super::record::Record;
use crate::checkpoint::verify_untouched;
use crate::error::{Error, Result};
use crate::model::{Decoder, LinearId};
use crate::report::MatrixFacts;

/// Checks that each pruned matrix has the zeros its pattern asks for, that every tensor written anew is finite, and that
/// every other byte is the source's, those of matrices left dense included. Returns the number of zeros in all matrices.
///
/// # Errors
/// Naming the tensor that breaks a promise.
pub(super) fn audit(source: &Decoder, written: &Decoder, record: &Record) -> Result<usize> {
    let out = written.checkpoint();
    verify_untouched(source.checkpoint(), out, &record.replaced)?;
    for name in &record.replaced {
        out.check_finite(name)?;
    }
    let spec = written.spec();
    let matrices = record.matrices.iter();
    let named = matrices.filter_map(|facts| Some((spec.linear_named(facts.block, &facts.name)?, facts)));
    let known: BTreeMap<LinearId, &MatrixFacts> = named.collect();
    let all = spec.linear_ids().count();
    if known.len() != all || record.matrices.len() != all {
        return Err(broken(&format!("{} of {all} matrices are accounted for", known.len())));
    }
    let mut zeros = 0;
    for (id, facts) in known {
        let weight = written.load_weight(id)?;
        zeros += weight.count_zeros();
        let violation =
            facts.pattern.and_then(|pattern| Some((pattern, pattern.violation(weight.host(), facts.shape[1])?)));
        if let Some((pattern, violation)) = violation {
            return Err(broken(&format!("{} does not obey the pattern {pattern}: {violation}", facts.name)));
        }
    }
    Ok(zeros)
}

fn broken(promise: &str) -> Error {
    let hint = Some("this is a defect of lopper; nothing was written".into());
    Error::Numeric { problem: format!("audit: {promise}"), hint }
}
