//! What is zero as a whole is taken out: a model pruned by units becomes an ordinary smaller one that gives the same logits.

use std::collections::BTreeMap;

use crate::checkpoint::Cut;
use crate::error::{Error, Result};
use crate::model::{Decoder, Form, LinearId, Units};
use crate::plan::Narrowing;

/// What stays of the tensors of a model in whose files units are zero: as many as are to go have no reader. Which of those that have
/// none is all the same.
///
/// # Errors
/// If a matrix cannot be read, or fewer units are zero.
pub(super) fn cuts(model: &Decoder, narrowings: &[Narrowing]) -> Result<BTreeMap<String, Cut>> {
    let mut cuts = BTreeMap::new();
    for narrowing in narrowings {
        for (branch, units) in &narrowing.layers {
            let kept = kept(model, branch.at.block, units, narrowing)?;
            let spec = &model.spec().blocks[branch.at.block];
            let mut cut = |tensor: usize, axis: usize, kept: &[bool]| {
                let axis = if spec.tensors[tensor].form == Form::Transposed { 1 - axis } else { axis };
                let keep = (0..kept.len()).filter(|&place| kept[place]).collect();
                cuts.insert(model.spec().tensor_name(branch.at.block, tensor), Cut { axis, keep });
            };
            let reader = &spec.linears[units.reader];
            let inputs = kept.iter().flat_map(|&kept| std::iter::repeat_n(kept, reader.shape[1] / units.count));
            cut(reader.weight, 1, &inputs.collect::<Vec<_>>());
            for (index, linear) in spec.linears.iter().enumerate() {
                let Some(outputs) = units.outputs_kept(index, linear.shape[0], &kept) else { continue };
                cut(linear.weight, 0, &outputs);
                if let Some(bias) = linear.bias {
                    cut(bias, 0, &outputs);
                }
            }
            for (index, tensor) in spec.tensors.iter().enumerate() {
                if let Some(entries) = units.entries_kept(index, tensor.shape[0], &kept) {
                    cut(index, 0, &entries);
                }
            }
        }
    }
    Ok(cuts)
}

/// Which units stay.
fn kept(model: &Decoder, block: usize, units: &Units, narrowing: &Narrowing) -> Result<Vec<bool>> {
    let weight = model.load_weight(LinearId { block, index: units.reader })?;
    let (mut read, size) = (vec![false; units.count], weight.width() / units.count);
    for row in weight.host().chunks_exact(weight.width()) {
        read.iter_mut().zip(row.chunks_exact(size)).for_each(|(read, own)| *read |= own.iter().any(|&w| w != 0.0));
    }
    let go = narrowing.of - narrowing.keep;
    let gone: Vec<usize> = (0..units.count).filter(|&unit| !read[unit]).take(go).collect();
    if gone.len() < go {
        let problem = format!("block {block}: {} {} are zero, {go} asked", gone.len(), narrowing.kind.plural());
        return Err(Error::Numeric { problem, hint: Some("this is a defect of lopper; nothing was written".into()) });
    }
    Ok((0..units.count).map(|unit| gone.binary_search(&unit).is_err()).collect())
}
