//! The neurons of a feed-forward layer: entries of a value that one linear layer reads, each made by itself of outputs of the linear layers
//! before. One that disappears takes an input of the reader with it, and those outputs.

use super::block_spec::{BlockSpec, BranchId};
use super::program::{Operation, Program};
use super::spec::DecoderSpec;
use crate::error::{Error, Result};

/// The neurons of a feed-forward layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neurons {
    /// The linear layer that reads them.
    pub reader: usize,
    /// How many there are.
    pub count: usize,
    /// Linear layers, and of each the output that each neuron is made of. A fused matrix is here once for each of its parts.
    pub writers: Vec<(usize, Vec<usize>)>,
}

impl Neurons {
    /// How many weights of the block belong to them.
    pub fn weights(&self, block: &BlockSpec) -> usize {
        let inputs = self.writers.iter().map(|(linear, _)| block.linears[*linear].shape[1]);
        self.count * (block.linears[self.reader].shape[0] + inputs.sum::<usize>())
    }
}

impl BlockSpec {
    /// The neurons of a branch, if it is a feed-forward layer whose neurons can be told apart.
    pub fn neurons(&self, branch: BranchId) -> Option<Neurons> {
        let program = &self.branch(branch).program;
        let last = program.last_linear()?;
        let Operation::Linear(reader) = program.instructions()[last].operation else { return None };
        let value = program.instructions()[last].reads[0];
        let count = program.width(value);
        // what others read, or what is the output, would miss them
        if !program.only_linears_read(value) || program.readers(value).count() != 1 {
            return None;
        }
        let mut writers = Vec::new();
        trace(program, value, (0..count).collect(), &mut writers)?;
        Some(Neurons { reader, count, writers })
    }
}

impl DecoderSpec {
    /// The neurons of every block, of each as many.
    ///
    /// # Errors
    /// If a block has not one feed-forward layer whose neurons can be told apart, or blocks differ in width: no config.json says that.
    pub fn neurons(&self) -> Result<Vec<(BranchId, Neurons)>> {
        let fault = |problem: String| Error::Plan {
            problem,
            hint: Some("prune weights instead: --sparsity, --pattern".into()),
        };
        let mut all: Vec<(BranchId, Neurons)> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let found: Vec<_> =
                block.branch_ids(index).filter_map(|branch| Some((branch, block.neurons(branch)?))).collect();
            let [one] = <[_; 1]>::try_from(found)
                .map_err(|found| fault(format!("block {index} has {} feed-forward layers, not one", found.len())))?;
            if let Some((_, first)) = all.first().filter(|(_, first)| first.count != one.1.count) {
                let (count, other) = (first.count, one.1.count);
                return Err(fault(format!(
                    "feed-forward layers differ in width: block 0 has {count} neurons, block {index} {other}"
                )));
            }
            all.push(one);
        }
        Ok(all)
    }
}

/// Follows the `entries` of a value back to the outputs of linear layers. `None` where an entry depends on more than its like.
fn trace(program: &Program, value: usize, entries: Vec<usize>, writers: &mut Vec<(usize, Vec<usize>)>) -> Option<()> {
    let instruction = &program.instructions()[value.checked_sub(1)?];
    let read = &instruction.reads;
    match &instruction.operation {
        &Operation::Linear(linear) => {
            writers.push((linear, entries));
            Some(())
        }
        Operation::Columns(ranges) => {
            let columns: Vec<usize> = ranges.iter().cloned().flatten().collect();
            trace(program, read[0], entries.into_iter().map(|entry| columns[entry]).collect(), writers)
        }
        Operation::Activate(_) | Operation::Scale(_) | Operation::Clamp(_) => trace(program, read[0], entries, writers),
        Operation::Gated(_) => {
            trace(program, read[0], entries.clone(), writers)?;
            trace(program, read[1], entries, writers)
        }
        Operation::Norm { .. } | Operation::Rotary { .. } | Operation::Attention(_) => None,
    }
}
