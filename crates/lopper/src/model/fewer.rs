//! A block with fewer experts than the files have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block_spec::{BlockSpec, BranchId, Rows};
use super::program::Operation;
use crate::autograd::Routing;
use crate::checkpoint::whole_of;
use crate::error::{Error, Result};

/// A block some of whose experts are gone.
#[derive(Clone, Debug)]
pub struct Fewer {
    /// With all of them.
    pub whole: Arc<BlockSpec>,
    /// Numbers of those that stay.
    pub kept: Vec<usize>,
    /// What tensors of those will be called, by what they are called.
    names: BTreeMap<String, String>,
    /// Of tensors that lose rows, or parts, those that stay.
    pub(super) cuts: BTreeMap<String, Vec<usize>>,
}

impl BlockSpec {
    /// How experts are chosen, where there are any.
    pub fn routing(&self) -> Option<&Routing> {
        self.operations().find_map(|operation| match operation {
            Operation::Route { routing, .. } => Some(routing),
            _ => None,
        })
    }

    /// Whether experts are chosen in a branch.
    pub fn routes(&self, branch: BranchId) -> bool {
        let mut all = self.branch(branch).program.instructions().iter();
        all.any(|one| matches!(one.operation, Operation::Route { .. }))
    }

    /// The tensors of every linear layer of an expert.
    fn of_experts(&self) -> Vec<[Option<usize>; 2]> {
        let own = self.linears.iter().filter(|linear| linear.of_expert);
        own.map(|linear| [Some(linear.weight), linear.bias]).collect()
    }

    /// Places of the tensors that are of no expert.
    fn of_all(&self) -> Vec<usize> {
        let of_experts = self.of_experts();
        let is_own = |place: &usize| of_experts.iter().any(|own| own.contains(&Some(*place)));
        (0..self.tensors.len()).filter(|place| !is_own(place)).collect()
    }

    /// The same, of which `small` is a description with as many experts as are kept, under the names and with the rows that the files have.
    pub(super) fn with_experts(self: &Arc<Self>, small: &Self, kept: &[usize]) -> Result<(Self, Fewer)> {
        let unlike = || Error::Plan {
            problem: "a description with fewer experts is not one of the same block".into(),
            hint: Some("this is a defect of lopper; nothing was written".into()),
        };
        let (mut block, mut fewer) = (
            small.clone(),
            Fewer { whole: self.clone(), kept: kept.to_vec(), names: BTreeMap::new(), cuts: BTreeMap::new() },
        );
        let count = self.routing().ok_or_else(unlike)?.experts;
        let (all, own) = (self.of_experts(), small.of_experts());
        let each = all.len() / count;
        if all.len() != each * count || own.len() != each * kept.len() || self.of_all().len() != small.of_all().len() {
            return Err(unlike());
        }
        for (place, own) in own.into_iter().enumerate() {
            let from = all.get(kept[place / each] * each + place % each).ok_or_else(unlike)?;
            for (own, from) in own.into_iter().zip(*from) {
                let (Some(own), Some(from)) = (own, from) else { continue };
                let old = self.tensors[from].name.clone();
                if let Some(whole) = whole_of(&old) {
                    fewer.cuts.insert(whole.into(), kept.to_vec());
                }
                fewer.names.insert(old.clone(), std::mem::replace(&mut block.tensors[own].name, old));
            }
        }
        for (own, from) in small.of_all().into_iter().zip(self.of_all()) {
            let [tensor, from] = [&small.tensors[own], &self.tensors[from]];
            if tensor.name != from.name {
                return Err(unlike());
            }
            if tensor.shape != from.shape {
                fewer.cuts.insert(tensor.name.clone(), kept.to_vec());
                block.tensors[own].rows = Some(Arc::new(Rows { of: from.shape[0], kept: kept.to_vec() }));
            }
        }
        Ok((block, fewer))
    }
}

impl Fewer {
    /// What a tensor of the block is called without the experts that are gone; `None` if it goes with them.
    pub fn renamed(&self, name: &str) -> Option<String> {
        let goes =
            self.whole.of_experts().into_iter().flatten().flatten().any(|place| self.whole.tensors[place].name == name);
        if goes { self.names.get(name).cloned() } else { Some(name.into()) }
    }
}
