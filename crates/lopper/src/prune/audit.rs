//! The last word before success: the files written are reopened, and every promise about them is checked.

use std::collections::BTreeSet;

use candle_core::Device;

use super::compress::Record;
use crate::autograd::read;
use crate::checkpoint::verify_untouched;
use crate::error::{Error, Result};
use crate::model::{Decoder, LinearId, LinearRole};

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
    let known: BTreeSet<_> = record.matrices.iter().map(|facts| (facts.block, facts.role)).collect();
    let all = written.spec().blocks * LinearRole::ALL.len();
    if known.len() != all || record.matrices.len() != all {
        return Err(broken(&format!("{} of {all} matrices are accounted for", known.len())));
    }
    let mut zeros = 0;
    for facts in &record.matrices {
        let (name, columns) = (
            Decoder::weight_name(LinearId { block: facts.block, role: facts.role }),
            written.spec().shape(facts.role).1,
        );
        let weight = out.tensor_f32(&name)?.to_device(&Device::Cpu)?;
        let violation = read([&weight], |[weight]| {
            zeros += weight.iter().filter(|&&w| w == 0.0).count();
            facts.pattern.and_then(|pattern| Some((pattern, pattern.violation(weight, columns)?)))
        })?;
        if let Some((pattern, violation)) = violation {
            return Err(broken(&format!("{name} does not obey the pattern {pattern}: {violation}")));
        }
    }
    Ok(zeros)
}

fn broken(promise: &str) -> Error {
    let hint = Some("this is a defect of lopper; nothing was written".into());
    Error::Numeric { problem: format!("audit: {promise}"), hint }
}
