//! How many of the weights that share a target each matrix loses. Of n weights together ⌊s·n⌋: exactly so where scores are
//! compared within a matrix or wider; within rows, where all rows of a matrix lose the same, as near below it as that allows.

use std::collections::BTreeMap;

use super::targets::Target;
use crate::error::{Error, Result};
use crate::model::LinearId;
use crate::sparsity::allocation::{Histogram, Quota, apportion, block_sparsities, pooled_counts};
use crate::sparsity::{Extent, Pattern, Scope};

/// What becomes of every matrix that could be pruned.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Allocation(pub(super) BTreeMap<LinearId, Option<Pattern>>);

impl Allocation {
    /// The pattern of a matrix; `None` if it stays dense.
    pub fn get(&self, id: LinearId) -> Option<&Pattern> {
        self.0.get(&id)?.as_ref()
    }

    /// Takes over what another one has for the first `blocks` blocks.
    pub fn take_blocks(&mut self, other: &Self, blocks: usize) {
        self.0.extend(other.0.iter().filter(|(id, _)| id.block < blocks).map(|(&id, &pattern)| (id, pattern)));
    }

    /// Every matrix with its pattern, in the order of the model; `None` stays dense.
    pub fn iter(&self) -> impl Iterator<Item = (LinearId, Option<&Pattern>)> {
        self.0.iter().map(|(&id, pattern)| (id, pattern.as_ref()))
    }
}

/// What a pass over the dense model found.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Scores of the matrices that compete with others.
    pub scores: BTreeMap<LinearId, Histogram>,
    /// Outlier share by block.
    pub outliers: BTreeMap<usize, f64>,
}

/// Matrices that share a target.
pub(super) struct Group<'a> {
    pub members: Vec<&'a Target>,
    pub sparsity: f64,
    pub extent: Extent,
    /// λ, where blocks get sparsities by their outliers.
    pub owl: Option<f64>,
}

impl Group<'_> {
    fn weights(&self) -> usize {
        self.members.iter().map(|target| target.weights()).sum()
    }

    /// ⌊s·n⌋
    pub(super) fn target(&self) -> usize {
        Pattern::pruned_of(self.sparsity, self.weights())
    }

    pub(super) fn patterns(&self, measured: &Measured) -> Result<Vec<Pattern>> {
        match self.extent {
            Extent::Row | Extent::Matrix => Ok(self.apart(&self.sparsities(measured)?)),
            Extent::Block => self.competing(measured, |target| target.id.block),
            Extent::Model => self.competing(measured, |_| 0),
        }
    }

    /// Sparsities by matrix: that of the group, or by the outliers of the block.
    fn sparsities(&self, measured: &Measured) -> Result<Vec<f64>> {
        let Some(lambda) = self.owl else { return Ok(vec![self.sparsity; self.members.len()]) };
        let mut weights = BTreeMap::new();
        for target in &self.members {
            *weights.entry(target.id.block).or_insert(0) += target.weights();
        }
        let share = |block: &usize| measured.outliers.get(block).copied().ok_or_else(|| unmeasured(*block));
        let blocks =
            weights.iter().map(|(block, &weights)| Ok((share(block)?, weights))).collect::<Result<Vec<_>>>()?;
        let sparsities = block_sparsities(self.sparsity, lambda, &blocks);
        let of: BTreeMap<_, _> = weights.keys().zip(sparsities).collect();
        Ok(self.members.iter().map(|target| of[&target.id.block]).collect())
    }

    /// Patterns of matrices that do not compete: what each should lose, rounded so that all together lose the target.
    fn apart(&self, sparsities: &[f64]) -> Vec<Pattern> {
        let scope = self.extent.scope();
        let sizes = self.members.iter().map(|target| match scope {
            Scope::Row => (target.shape[1], target.shape[0]),
            Scope::Matrix => (target.weights(), 1),
        });
        let sizes: Vec<(usize, usize)> = sizes.collect();
        let quotas: Vec<Quota> =
            sizes.iter().zip(sparsities).map(|(&(of, unit), s)| Quota { steps: s * of as f64, unit }).collect();
        let counts = apportion(self.target(), &quotas);
        let pattern = |((&(of, _), &sparsity), count)| match Pattern::pruned_of(sparsity, of) {
            asked if asked == count => Pattern::Unstructured { sparsity, scope },
            _ => Pattern::exactly(count, of, scope),
        };
        sizes.iter().zip(sparsities).zip(counts).map(pattern).collect()
    }

    /// Patterns of matrices that compete with those of the same `pool`: the smallest scores of the pool go.
    fn competing(&self, measured: &Measured, pool: impl Fn(&Target) -> usize) -> Result<Vec<Pattern>> {
        let mut pools: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, target) in self.members.iter().enumerate() {
            pools.entry(pool(target)).or_default().push(place);
        }
        let size = |places: &[usize]| places.iter().map(|&place| self.members[place].weights()).sum::<usize>();
        let quotas: Vec<Quota> =
            pools.values().map(|places| Quota { steps: self.sparsity * size(places) as f64, unit: 1 }).collect();
        let mut patterns = vec![Pattern::exactly(0, 1, Scope::Matrix); self.members.len()];
        for (places, target) in pools.values().zip(apportion(self.target(), &quotas)) {
            let scores = |&place: &usize| {
                let id = self.members[place].id;
                measured.scores.get(&id).ok_or_else(|| unmeasured(id.block))
            };
            let scores = places.iter().map(scores).collect::<Result<Vec<_>>>()?;
            for (&place, count) in places.iter().zip(pooled_counts(&scores, target)) {
                patterns[place] = Pattern::exactly(count, self.members[place].weights(), Scope::Matrix);
            }
        }
        Ok(patterns)
    }
}

fn unmeasured(block: usize) -> Error {
    Error::Numeric { problem: format!("block {block} was not surveyed before its ratios were asked for"), hint: None }
}
