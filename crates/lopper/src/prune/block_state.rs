//! A block between its steps: as it was, as it is, and what is known of its inputs.

use std::collections::BTreeMap;

use crate::calibration::{BlockStatistics, InputStatistics};
use crate::checkpoint::{Checkpoint, Rewrite, StorageDtype, TensorInfo};
use crate::error::Result;
use crate::model::{Block, BranchId, Decoder, StageId};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

/// A block on the way.
pub(super) struct BlockState {
    pub index: usize,
    /// As the checkpoint has it, without experts that are gone; what was released is empty.
    pub dense: Block,
    /// The same with them, where any are and targets need them.
    pub whole: Option<Block>,
    /// Pruned and repaired so far; what was not shares its numbers with `dense`.
    pub pruned: Block,
    /// Of what is pruned, by linear layer.
    pub masks: BTreeMap<usize, Mask>,
    /// By the first layer that reads an input.
    pub statistics: BlockStatistics,
    /// How many tokens reached the layers of experts, by the first layer that reads them.
    pub reached: BTreeMap<usize, usize>,
}

impl BlockState {
    pub fn load(decoder: &Decoder, index: usize) -> Result<Self> {
        let dense = decoder.load_block(index)?;
        Ok(Self {
            index,
            pruned: dense.clone(),
            dense,
            whole: None,
            masks: BTreeMap::new(),
            statistics: BTreeMap::new(),
            reached: BTreeMap::new(),
        })
    }

    /// The block of the dense model.
    pub fn target(&self) -> &Block {
        self.whole.as_ref().unwrap_or(&self.dense)
    }

    /// Lets go of the dense weights of a branch.
    pub fn release(&mut self, branch: BranchId) {
        for block in [&mut self.dense].into_iter().chain(&mut self.whole) {
            for &linear in &block.spec.branch(branch).linears {
                block.tensors[block.spec.linears[linear].weight] = Tensor::zeros([0]);
            }
        }
    }

    /// Lets go of what is known of the inputs of a branch.
    pub fn forget_inputs(&mut self, branch: BranchId) {
        let linears = &self.pruned.spec.branch(branch).linears;
        self.statistics.retain(|first, _| !linears.contains(first));
    }

    /// Lets go of what is known of the held-out inputs of a branch: nothing is chosen by them any more.
    pub fn forget_held_out(&mut self, branch: BranchId) {
        let linears = &self.pruned.spec.branch(branch).linears;
        let own = self.statistics.iter_mut().filter(|(first, _)| linears.contains(first));
        own.for_each(|(_, statistics)| statistics.held_out = None);
    }

    /// What the inputs of this layer were; layers that read one input share it.
    pub fn inputs_of(&self, linear: usize) -> Option<&InputStatistics> {
        self.statistics.get(&self.pruned.spec.linears[linear].first_reader)
    }

    /// Whether any matrix of this branch is pruned, and not left dense.
    pub fn is_pruned(&self, branch: BranchId) -> bool {
        self.pruned.spec.branch(branch).linears.iter().any(|linear| self.masks.contains_key(linear))
    }

    /// Places of the tensors that differ from the checkpoint: pruned weights; where they `trained`, also the biases of the pruned
    /// layers and the other tensors of their branches.
    pub fn changed(&self, trained: bool) -> Vec<usize> {
        let spec = &self.pruned.spec;
        let mut places = Vec::new();
        for linear in self.masks.keys().map(|&linear| &spec.linears[linear]) {
            places.push(linear.weight);
            places.extend(linear.bias.filter(|_| trained));
        }
        for branch in spec.branch_ids(self.index).filter(|&branch| trained && self.is_pruned(branch)) {
            places.extend(&spec.branch(branch).others);
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Rounds a stage to the dtypes of the file. Returns how many numbers were beyond their range.
    pub fn round(&mut self, stage: StageId, checkpoint: &Checkpoint) -> usize {
        round(&mut self.pruned, stage, checkpoint)
    }

    /// The block as the files would hold a stage that has still to be trained.
    pub fn rounded(&self, stage: StageId, checkpoint: &Checkpoint) -> Block {
        let mut block = self.pruned.clone();
        round(&mut block, stage, checkpoint);
        block
    }
}

/// Rounds a stage to the dtypes of the file. Returns how many numbers were beyond their range.
fn round(block: &mut Block, stage: StageId, checkpoint: &Checkpoint) -> usize {
    let places = stage_tensors(block, stage).into_iter();
    let beyond = places.map(|place| {
        let dtype = stored_as(checkpoint, &block.name(place));
        block.spec.tensors[place].form.round(&mut block.tensors[place], dtype)
    });
    beyond.sum()
}

/// Places of the tensors of a stage.
fn stage_tensors(block: &Block, stage: StageId) -> Vec<usize> {
    let branches = &block.spec.stages[stage.stage].branches;
    let linears = branches.iter().flat_map(|branch| &branch.linears).map(|&linear| &block.spec.linears[linear]);
    let of_linears = linears.flat_map(|linear| std::iter::once(linear.weight).chain(linear.bias));
    let mut places: Vec<usize> = of_linears.chain(branches.iter().flat_map(|branch| branch.others.clone())).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// How the file holds a tensor.
pub(super) fn stored_as(checkpoint: &Checkpoint, name: &str) -> StorageDtype {
    checkpoint.info(name).and_then(TensorInfo::storage).unwrap_or(StorageDtype::F32)
}

/// A block as it is in the files that are being written.
pub(super) fn written(mut block: Block, rewrite: &Rewrite) -> Result<Block> {
    for place in 0..block.tensors.len() {
        if let Some(replaced) = rewrite.get(&block.name(place))? {
            block.tensors[place] = block.spec.tensors[place].read(replaced)?;
        }
    }
    Ok(block)
}
