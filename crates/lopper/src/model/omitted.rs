//! What is left out of a model: whole blocks, and experts. The files have it still, until a smaller copy is made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block_spec::{BlockSpec, BranchId, StageId};
use super::fewer::Fewer;
use super::spec::DecoderSpec;
use crate::checkpoint::Cut;
use crate::error::Result;

/// What is left out, by the numbers that the files give blocks and experts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    /// Blocks that go.
    pub blocks: Vec<usize>,
    /// Of blocks some of whose experts go, those that stay.
    pub experts: BTreeMap<usize, Vec<usize>>,
}

impl DecoderSpec {
    /// What is left out of it.
    pub fn omitted(&self) -> Omitted {
        let experts = self.fewer.iter().map(|(&number, fewer)| (number, fewer.kept.clone()));
        Omitted { blocks: self.gone.keys().copied().collect(), experts: experts.collect() }
    }

    /// The same model without some experts; `small` describes it with as many as stay.
    ///
    /// # Errors
    /// If that is another model.
    pub(crate) fn with_experts(mut self, small: &Self, kept: &BTreeMap<usize, Vec<usize>>) -> Result<Self> {
        for (&number, kept) in kept {
            let [whole, small] = [&self.blocks[number], &small.blocks[number]];
            let (block, fewer) = whole.with_experts(small, kept)?;
            self.blocks[number] = Arc::new(block);
            self.fewer.insert(number, fewer);
        }
        Ok(self)
    }

    /// A block as the files have it.
    pub fn whole(&self, block: usize) -> &Arc<BlockSpec> {
        self.fewer.get(&self.number(block)).map_or(&self.blocks[block], |fewer| &fewer.whole)
    }

    /// Whether some of the experts that a stage chooses from are gone.
    pub fn has_fewer(&self, at: StageId) -> bool {
        let spec = &self.blocks[at.block];
        let mut branches = (0..spec.stages[at.stage].branches.len()).map(|branch| BranchId { at, branch });
        self.fewer.contains_key(&self.number(at.block)) && branches.any(|branch| spec.routes(branch))
    }

    /// What stays of tensors of which a part is of experts that are gone.
    pub fn cuts(&self) -> BTreeMap<String, Cut> {
        let all = self.fewer.iter().filter(|(number, _)| !self.gone.contains_key(number));
        let of = |(number, fewer): (&usize, &Fewer)| {
            let named = |(name, kept): (&String, &Vec<usize>)| {
                (format!("{}{number}.{name}", self.block_prefix), Cut { axis: 0, keep: kept.clone() })
            };
            fewer.cuts.iter().map(named).collect::<Vec<_>>()
        };
        all.flat_map(of).collect()
    }
}
