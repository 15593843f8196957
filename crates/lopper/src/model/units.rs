//! Units: parts of a value that one linear layer reads, each made by itself of outputs of the linear layers before. One that disappears
//! takes its inputs of the reader with it, and those outputs; all others go on as before.

use serde::{Deserialize, Serialize};

use super::block_spec::{BlockSpec, BranchId};
use super::program::{Operation, Program};
use super::spec::DecoderSpec;
use crate::error::{Error, Result};

/// What units are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UnitKind {
    /// Neurons of a feed-forward layer.
    Neuron,
    /// Heads of keys and values of attention, each with the heads of queries that read it.
    KvHead,
}

impl UnitKind {
    /// What so many are called.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Neuron => "neurons",
            Self::KvHead => "key/value heads",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Neuron => "feed-forward",
            Self::KvHead => "attention",
        }
    }
}

/// The units of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units {
    /// The linear layer that reads them: each is as many of its inputs, one after the other.
    pub reader: usize,
    /// How many there are.
    pub count: usize,
    /// Linear layers, and the outputs that units are made of, as many of each, unit after unit. A fused matrix is here once for each of
    /// its parts.
    pub writers: Vec<(usize, Vec<usize>)>,
    /// Tensors of no linear layer, and the entries that belong to units in the same way.
    pub tensors: Vec<(usize, Vec<usize>)>,
}

impl Units {
    /// How many weights of the block belong to them.
    pub fn weights(&self, block: &BlockSpec) -> usize {
        let written = self.writers.iter().map(|(linear, outputs)| outputs.len() * block.linears[*linear].shape[1]);
        block.linears[self.reader].weights() + written.sum::<usize>()
    }

    /// Of the outputs of a linear layer, whether those stay whose units are `kept`; those that make no unit do. `None` if it makes none.
    pub fn outputs_kept(&self, linear: usize, outputs: usize, kept: &[bool]) -> Option<Vec<bool>> {
        self.stay(&self.writers, linear, outputs, kept)
    }

    /// The same of the entries of a tensor of no linear layer.
    pub fn entries_kept(&self, tensor: usize, entries: usize, kept: &[bool]) -> Option<Vec<bool>> {
        self.stay(&self.tensors, tensor, entries, kept)
    }

    fn stay(&self, of: &[(usize, Vec<usize>)], which: usize, length: usize, kept: &[bool]) -> Option<Vec<bool>> {
        let mut stays = vec![true; length];
        let mut parts = of.iter().filter(|(one, _)| *one == which).peekable();
        parts.peek()?;
        for (_, made) in parts {
            let size = made.len() / self.count;
            made.iter().enumerate().for_each(|(place, &entry)| stays[entry] = kept[place / size]);
        }
        Some(stays)
    }
}

impl BlockSpec {
    /// The units of a branch, if it has such and they can be told apart.
    pub fn units(&self, kind: UnitKind, branch: BranchId) -> Option<Units> {
        let program = &self.branch(branch).program;
        let last = program.last_linear()?;
        if program.instructions().iter().any(|one| matches!(one.operation, Operation::Route { .. })) {
            return None;
        }
        let Operation::Linear(reader) = program.instructions()[last].operation else { return None };
        let value = program.instructions()[last].reads[0];
        // what others read, or what is the output, would miss them
        if !program.only_linears_read(value) || program.readers(value).count() != 1 {
            return None;
        }
        let heads = program.instructions().iter().find_map(|one| match &one.operation {
            Operation::Attention { layout, .. } => Some(layout.kv_heads),
            _ => None,
        });
        let count = match (kind, heads) {
            (UnitKind::Neuron, None) => program.width(value),
            (UnitKind::KvHead, Some(heads)) => heads,
            _ => return None,
        };
        let mut trace = Trace { program, count, writers: Vec::new(), tensors: Vec::new() };
        trace.follow(value, (0..program.width(value)).collect())?;
        Some(Units { reader, count, writers: trace.writers, tensors: trace.tensors })
    }
}

impl DecoderSpec {
    /// The units of every block, of each as many.
    ///
    /// # Errors
    /// If a block has not one layer whose units can be told apart, or blocks differ in their number: no config.json says that.
    pub fn units(&self, kind: UnitKind) -> Result<Vec<(BranchId, Units)>> {
        let (layer, units) = (kind.layer(), kind.plural());
        let fault = |problem: String| Error::Plan {
            problem,
            hint: Some("prune weights instead: --sparsity, --pattern".into()),
        };
        let mut all: Vec<(BranchId, Units)> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            if kind == UnitKind::Neuron && block.linears.iter().any(|linear| linear.of_expert) {
                return Err(fault(format!("block {index} has experts: their neurons cannot become fewer yet")));
            }
            let found: Vec<_> =
                block.branch_ids(index).filter_map(|branch| Some((branch, block.units(kind, branch)?))).collect();
            let [one] = <[_; 1]>::try_from(found).map_err(|found| {
                fault(format!(
                    "block {index} has {} {layer} layers whose {units} can be told apart, not one",
                    found.len()
                ))
            })?;
            if let Some((_, first)) = all.first().filter(|(_, first)| first.count != one.1.count) {
                let (count, other) = (first.count, one.1.count);
                return Err(fault(format!(
                    "{layer} layers differ in width: block 0 has {count} {units}, block {index} {other}"
                )));
            }
            all.push(one);
        }
        Ok(all)
    }
}

/// Follows the `entries` of a value, those of a unit after those of another, back to the outputs of linear layers.
struct Trace<'a> {
    program: &'a Program,
    count: usize,
    writers: Vec<(usize, Vec<usize>)>,
    tensors: Vec<(usize, Vec<usize>)>,
}

impl Trace<'_> {
    /// `None` where an entry depends on more than its unit.
    fn follow(&mut self, value: usize, entries: Vec<usize>) -> Option<()> {
        let program = self.program;
        let instruction = &program.instructions()[value.checked_sub(1)?];
        let read = &instruction.reads;
        match &instruction.operation {
            &Operation::Linear(linear) => {
                // keys that are values too are read twice
                if !self.writers.contains(&(linear, entries.clone())) {
                    self.writers.push((linear, entries));
                }
                Some(())
            }
            Operation::Columns(ranges) => {
                let columns: Vec<usize> = ranges.iter().cloned().flatten().collect();
                self.follow(read[0], entries.into_iter().map(|entry| columns[entry]).collect())
            }
            Operation::Activate(_) | Operation::Scale(_) | Operation::Times { .. } | Operation::Clamp(_) => {
                self.follow(read[0], entries)
            }
            Operation::Gated(_) => {
                self.follow(read[0], entries.clone())?;
                self.follow(read[1], entries)
            }
            &Operation::Norm { width, .. } | &Operation::Rotary { head_dim: width, .. } => {
                self.heads(&entries, width)?;
                self.follow(read[0], entries)
            }
            // biases by the place of a head are those of no smaller model
            Operation::Attention { layout, sinks } if layout.slopes.is_empty() => {
                if let &Some(sinks) = sinks {
                    self.tensors.push((sinks, self.heads(&entries, layout.head_dim)?));
                }
                let groups = self.heads(&entries, layout.heads / layout.kv_heads * layout.head_dim)?;
                let of_group = |group: usize| group * layout.head_dim..(group + 1) * layout.head_dim;
                let shared: Vec<usize> = groups.into_iter().flat_map(of_group).collect();
                self.follow(read[0], entries)?;
                self.follow(read[1], shared.clone())?;
                self.follow(read[2], shared)
            }
            Operation::Attention { .. }
            | Operation::ClampedGate(_)
            | Operation::Join(_)
            | Operation::Convolution { .. }
            | Operation::Scan { .. }
            | Operation::HeadScan { .. }
            | Operation::DeltaScan { .. }
            | Operation::Add
            | Operation::Score { .. }
            | Operation::Route { .. }
            | Operation::Reaching { .. }
            | Operation::Combine
            | Operation::GateRows => None,
        }
    }

    /// Which heads of this width entries are, if they are whole ones, and each of one unit.
    fn heads(&self, entries: &[usize], width: usize) -> Option<Vec<usize>> {
        let of = |head: &[usize]| {
            let first = head[0];
            let is_whole = head.len() == width && head.iter().enumerate().all(|(at, &entry)| entry == first + at);
            (is_whole && first.is_multiple_of(width)).then_some(first / width)
        };
        let of_units = (entries.len() / self.count).is_multiple_of(width);
        if of_units { entries.chunks(width).map(of).collect() } else { None }
    }
}
