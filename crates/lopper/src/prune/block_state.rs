//! A block between its steps: as it was, as it is, and what is known of its inputs.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::calibration::InputStatistics;
use crate::checkpoint::{StorageDtype, TensorInfo};
use crate::error::{Error, Result};
use crate::model::{Block, Decoder, LinearId, LinearRole, Part};
use crate::sparsity::Mask;

/// The seed of a layer: different for every one.
pub(super) fn layer_seed(seed: u64, id: LinearId) -> u64 {
    seed ^ ((id.block * LinearRole::ALL.len() + id.role as usize) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A block on the way.
pub(super) struct BlockState {
    pub index: usize,
    /// As the checkpoint has it.
    pub dense: Block,
    /// Pruned and repaired so far.
    pub pruned: Block,
    /// Of what is pruned.
    pub masks: BTreeMap<LinearRole, Mask>,
    /// By the first layer that reads an input.
    pub statistics: BTreeMap<LinearRole, InputStatistics>,
}

impl BlockState {
    pub fn load(decoder: &Decoder, index: usize) -> Result<Self> {
        let dense = decoder.load_block(index)?;
        let pruned = dense.clone();
        Ok(Self { index, dense, pruned, masks: BTreeMap::new(), statistics: BTreeMap::new() })
    }

    /// Lets go of what only pruning and targets ask for.
    pub fn forget_dense(&mut self) {
        self.dense = self.pruned.clone();
        self.statistics.clear();
    }

    /// Lets go of the dense weights of a half whose targets are made.
    pub fn forget_dense_half(&mut self, part: Part) {
        match part {
            Part::Attention => self.dense.attention = self.pruned.attention.clone(),
            Part::Mlp => self.dense.mlp = self.pruned.mlp.clone(),
        }
    }

    /// Lets go of what is known of the inputs of a half.
    pub fn forget_inputs(&mut self, part: Part) {
        self.statistics.retain(|role, _| role.part() != part);
    }

    /// What the inputs of this layer were; layers that read one input share it.
    pub fn inputs_of(&self, role: LinearRole) -> Option<&InputStatistics> {
        self.statistics.get(&Self::first_reader(role))
    }

    /// The first layer that reads what this one reads.
    pub fn first_reader(role: LinearRole) -> LinearRole {
        match role {
            LinearRole::Key | LinearRole::Value => LinearRole::Query,
            LinearRole::Up => LinearRole::Gate,
            other => other,
        }
    }

    /// Whether any matrix of this half is pruned, and not left dense.
    pub fn is_pruned(&self, part: Part) -> bool {
        self.masks.keys().any(|role| role.part() == part)
    }

    /// Name and value of what differs from the checkpoint: pruned weights; where a half that has any trained, also its norm and
    /// the biases of the pruned layers.
    pub fn changed(&self, trained: bool) -> Vec<(String, &Tensor)> {
        let mut tensors = Vec::new();
        for &role in self.masks.keys() {
            let (id, linear) = (LinearId { block: self.index, role }, self.pruned.linear(role));
            tensors.push((Decoder::weight_name(id), &linear.weight));
            tensors.extend(linear.bias.as_ref().filter(|_| trained).map(|bias| (Decoder::bias_name(id), bias)));
        }
        for part in [Part::Attention, Part::Mlp] {
            let trained = trained && self.is_pruned(part);
            tensors.extend(trained.then(|| (Decoder::norm_name(self.index, part), &self.pruned.norm(part).weight)));
        }
        tensors
    }

    /// The layers that follow are shown what the files will hold, not what is in memory.
    pub fn round_to_storage(&mut self, decoder: &Decoder, part: Part) -> Result<()> {
        round(&mut self.pruned, self.index, decoder, part)
    }

    /// What the files would hold of a half that has still to be trained.
    pub fn rounded(&self, decoder: &Decoder, part: Part) -> Result<Block> {
        let mut block = self.pruned.clone();
        round(&mut block, self.index, decoder, part)?;
        Ok(block)
    }
}

/// Rounds half of a block to the dtypes of the file.
fn round(block: &mut Block, index: usize, decoder: &Decoder, part: Part) -> Result<()> {
    let round = |name: &str, tensor: &mut Tensor| {
        let stored = decoder.checkpoint().info(name).and_then(TensorInfo::storage);
        let dtype = stored.map_or(DType::F32, StorageDtype::tensor_dtype);
        *tensor = tensor.to_dtype(dtype)?.to_dtype(DType::F32)?;
        Ok::<_, Error>(())
    };
    for role in LinearRole::ALL.into_iter().filter(|role| role.part() == part) {
        let (id, linear) = (LinearId { block: index, role }, block.linear_mut(role));
        round(&Decoder::weight_name(id), &mut linear.weight)?;
        linear.bias.iter_mut().try_for_each(|bias| round(&Decoder::bias_name(id), bias))?;
    }
    round(&Decoder::norm_name(index, part), block.norm_mut(part))
}
