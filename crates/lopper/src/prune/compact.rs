//! What is zero as a whole is taken out: a model pruned by neurons becomes an ordinary smaller one that gives the same logits.

use std::collections::BTreeMap;

use crate::checkpoint::Cut;
use crate::error::{Error, Result};
use crate::model::{Decoder, Form, LinearId, Neurons};
use crate::plan::Width;

/// What stays of the tensors of a model in whose files neurons are zero: as many as are to go have no reader. Which of those that have
/// none is all the same.
///
/// # Errors
/// If a matrix cannot be read, or fewer neurons are zero.
pub(super) fn cuts(model: &Decoder, width: &Width) -> Result<BTreeMap<String, Cut>> {
    let mut cuts = BTreeMap::new();
    for (branch, neurons) in &width.layers {
        let kept = kept(model, branch.at.block, neurons, width)?;
        let spec = &model.spec().blocks[branch.at.block];
        let mut cut = |tensor: usize, axis: usize, keep: Vec<usize>| {
            let axis = if spec.tensors[tensor].form == Form::Transposed { 1 - axis } else { axis };
            cuts.insert(model.spec().tensor_name(branch.at.block, tensor), Cut { axis, keep });
        };
        cut(spec.linears[neurons.reader].weight, 1, kept.clone());
        for (linear, outputs) in rows(neurons, &kept, spec.linears.iter().map(|linear| linear.shape[0])) {
            let linear = &spec.linears[linear];
            cut(linear.weight, 0, outputs.clone());
            if let Some(bias) = linear.bias {
                cut(bias, 0, outputs);
            }
        }
    }
    Ok(cuts)
}

/// The neurons that stay.
fn kept(model: &Decoder, block: usize, neurons: &Neurons, width: &Width) -> Result<Vec<usize>> {
    let weight = model.load_weight(LinearId { block, index: neurons.reader })?;
    let mut read = vec![false; width.of];
    for row in weight.host().chunks_exact(width.of) {
        read.iter_mut().zip(row).for_each(|(read, &w)| *read |= w != 0.0);
    }
    let gone: Vec<usize> = (0..width.of).filter(|&neuron| !read[neuron]).take(width.of - width.keep).collect();
    if gone.len() + width.keep < width.of {
        let problem = format!("block {block}: {} neurons are zero, {} asked", gone.len(), width.of - width.keep);
        return Err(Error::Numeric { problem, hint: Some("this is a defect of lopper; nothing was written".into()) });
    }
    Ok((0..width.of).filter(|neuron| gone.binary_search(neuron).is_err()).collect())
}

/// The outputs that stay of each linear layer that writes neurons; those that no neuron is made of stay.
fn rows(neurons: &Neurons, kept: &[usize], outputs: impl Iterator<Item = usize>) -> Vec<(usize, Vec<usize>)> {
    let outputs: Vec<usize> = outputs.collect();
    let mut gone: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
    for (linear, made) in &neurons.writers {
        let gone = gone.entry(*linear).or_insert_with(|| vec![false; outputs[*linear]]);
        for &row in made {
            gone[row] = true;
        }
        for &neuron in kept {
            gone[made[neuron]] = false;
        }
    }
    let stay = |gone: Vec<bool>| (0..gone.len()).filter(|&row| !gone[row]).collect();
    gone.into_iter().map(|(linear, gone)| (linear, stay(gone))).collect()
}
