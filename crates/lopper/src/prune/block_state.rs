//! A block between its steps: as it was, as it is, and what is known of its inputs.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::calibration::InputStatistics;
use crate::checkpoint::{StorageDtype, TensorInfo};
use crate::error::{Error, Result};
use crate::model::{Block, Decoder, LinearId, LinearRole, Part};
use crate::sparsity::Mask;

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

    /// What the inputs of this layer were; layers that read one input share it.
    pub fn inputs_of(&self, role: LinearRole) -> Option<&InputStatistics> {
        let first = match role {
            LinearRole::Key | LinearRole::Value => LinearRole::Query,
            LinearRole::Up => LinearRole::Gate,
            other => other,
        };
        self.statistics.get(&first)
    }

    /// The layers that follow are shown what the files will hold, not what is in memory.
    pub fn round_to_storage(&mut self, decoder: &Decoder, part: Part) -> Result<()> {
        let index = self.index;
        let round = |name: &str, tensor: &mut Tensor| {
            let stored = decoder.checkpoint().info(name).and_then(TensorInfo::storage);
            let dtype = stored.map_or(DType::F32, StorageDtype::tensor_dtype);
            *tensor = tensor.to_dtype(dtype)?.to_dtype(DType::F32)?;
            Ok::<_, Error>(())
        };
        for role in LinearRole::ALL.into_iter().filter(|role| role.part() == part) {
            let (id, linear) = (LinearId { block: index, role }, self.pruned.linear_mut(role));
            round(&Decoder::weight_name(id), &mut linear.weight)?;
            linear.bias.iter_mut().try_for_each(|bias| round(&Decoder::bias_name(id), bias))?;
        }
        round(&Decoder::norm_name(index, part), self.pruned.norm_mut(part))
    }
}
