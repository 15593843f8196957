//! What is to disappear whole, so that the model becomes an ordinary smaller one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Granularity, Inputs, Plan, PruningPlan, Ratios, WindowTargets, conflict};
use crate::error::Result;
use crate::model::{BranchId, DecoderSpec, LinearId, StageId, UnitKind, Units};
use crate::sparsity::Pattern;

/// Multiples that runtimes like widths to be of, the best first: llama.cpp's k-quants want 256.
const MULTIPLES: [usize; 4] = [256, 128, 64, 32];

/// How far the width kept may be from what was asked for, as a share of the width there is, so that it is a larger one of those.
const NEAR: f64 = 1.0 / 64.0;

/// Key `[shrink]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShrinkPlan {
    /// Share of the weights of all blocks that goes; nothing if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Share of the neurons of every feed-forward layer that is kept, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
    /// How many heads of keys and values of every attention are kept, each with the heads of queries that read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// The width kept is a multiple of this; if absent, of the largest of 256, 128, 64 and 32 that divides the width there is and
    /// leads to within a 64th of it of what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple: Option<usize>,
    /// How many blocks are kept: others go, one after the other, chosen by what they do to the states of the calibration text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Numbers of the blocks that go, instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<usize>,
    /// How many experts of every layer that has such are kept: those without which its output on the calibration text would change most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<usize>,
}

impl ShrinkPlan {
    /// Whether anything is to disappear.
    pub fn is_asked(&self) -> bool {
        self.narrows() || self.depth.is_some() || !self.drop.is_empty() || self.experts.is_some()
    }

    /// Whether neurons or heads are to disappear.
    pub fn narrows(&self) -> bool {
        self.width.is_some() || self.ratio.is_some() || self.kv_heads.is_some()
    }
}

/// The blocks that go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// These.
    Named(Vec<usize>),
    /// So many in a row, of those after the first.
    Chosen(usize),
}

/// The multiple, at least once, that is nearest to a number.
fn nearest(number: f64, multiple: usize) -> usize {
    ((number / multiple as f64).round() as usize).max(1) * multiple
}

/// How many units of each layer of a kind are kept.
#[derive(Clone, Debug)]
pub struct Narrowing {
    /// What they are.
    pub kind: UnitKind,
    /// Kept in every layer.
    pub keep: usize,
    /// Of so many.
    pub of: usize,
    /// What is kept is a multiple of this.
    pub multiple: usize,
    /// Of every block.
    pub layers: Vec<(BranchId, Units)>,
}

impl Plan {
    /// Which blocks of a whole model go; `None` if all stay.
    ///
    /// # Errors
    /// If there are no such blocks, or none would stay or go.
    pub fn depth(&self, whole: &DecoderSpec) -> Result<Option<Depth>> {
        let (of, ShrinkPlan { depth, drop, .. }) = (whole.blocks.len(), &self.shrink);
        let all = format!("the model has {of} blocks, 0 to {}", of.saturating_sub(1));
        match (*depth, drop.as_slice()) {
            (None, []) => Ok(None),
            (Some(_), [_, ..]) => {
                Err(conflict("a depth and a list of blocks both say what goes", "leave one of them out"))
            }
            (Some(keep), []) => {
                let problem = match keep {
                    0 | 1 => {
                        "shrink.depth is below 2: the first block stays, and the blocks that go have one before them"
                            .into()
                    }
                    keep if keep > of => format!("shrink.depth is {keep}: {all}"),
                    keep if keep == of => format!("shrink.depth is {keep}, and {all}: nothing would go"),
                    _ => return Ok(Some(Depth::Chosen(of - keep))),
                };
                Err(conflict(&problem, "give the number of blocks to keep"))
            }
            (None, numbers) => {
                let mut numbers = numbers.to_vec();
                numbers.sort_unstable();
                numbers.dedup();
                if let Some(beyond) = numbers.iter().find(|&&number| number >= of) {
                    return Err(conflict(&format!("there is no block {beyond} to go: {all}"), "give other numbers"));
                }
                if numbers.len() == of {
                    return Err(conflict(&format!("no block would stay: {all}"), "leave some out of the list"));
                }
                Ok(Some(Depth::Named(numbers)))
            }
        }
    }

    /// A whole model without the blocks that go. Where they are chosen later, others stand for them here.
    ///
    /// # Errors
    /// As [`Plan::depth`].
    pub fn shortened(&self, whole: &DecoderSpec) -> Result<DecoderSpec> {
        let gone = self.depth(whole)?.map_or_else(Vec::new, |depth| depth.numbers(whole));
        Ok(whole.clone().without(&gone))
    }

    /// What becomes of feed-forward layers and attention that are to be narrower.
    ///
    /// # Errors
    /// If that cannot be done to the model, or leaves nothing, or everything; or if weights are asked for beside it.
    pub fn narrowings(&self, spec: &DecoderSpec) -> Result<Vec<Narrowing>> {
        let is_wide = self.shrink.width.is_some() || self.shrink.ratio.is_some();
        if self.shrink.multiple.is_some() && !is_wide {
            return Err(conflict("shrink.multiple is about a width, and none is asked for", "leave it out"));
        }
        if !self.shrink.narrows() {
            return Ok(Vec::new());
        }
        if self.pruning.sparsity.is_some() || self.pruning.pattern.is_some() || !self.pruning.rules.is_empty() {
            return Err(conflict(
                "a width and a sparsity, a pattern or rules at once are not supported",
                "shrink first, then prune the result as any model",
            ));
        }
        let PruningPlan { scope, ratios, swaps, order, .. } = &self.pruning;
        if scope.is_some() || *ratios != Ratios::Uniform || *swaps > 0 || order.is_some() {
            return Err(conflict(
                "scope, ratios, swaps and order are about single weights, and whole neurons or heads are to go",
                "leave them out",
            ));
        }
        self.selection()?.check(&Pattern::Inputs { keep: 1, of: 2, unit: 1 })?;
        let heads = self.shrink.kv_heads.map(|keep| Self::kv_heads(spec, keep)).transpose()?;
        let neurons = is_wide.then(|| self.neurons(spec)).transpose()?;
        Ok(heads.into_iter().chain(neurons).collect())
    }

    fn kv_heads(spec: &DecoderSpec, keep: usize) -> Result<Narrowing> {
        let layers = spec.units(UnitKind::KvHead)?;
        let of = layers.first().map_or(0, |(_, units)| units.count);
        if keep == 0 || keep >= of {
            let problem = format!("shrink.kv_heads is {keep}, and the model has {of} key/value heads");
            return Err(conflict(&problem, "give how many to keep, at least 1 and fewer than there are"));
        }
        Ok(Narrowing { kind: UnitKind::KvHead, keep, of, multiple: 1, layers })
    }

    fn neurons(&self, spec: &DecoderSpec) -> Result<Narrowing> {
        let layers = spec.units(UnitKind::Neuron)?;
        let share = self.share(spec, &layers)?;
        let of = layers.first().map_or(0, |(_, units)| units.count);
        let multiple = self.multiple(of, share)?;
        let keep = nearest(share * of as f64, multiple);
        if keep >= of {
            return Err(conflict(
                &format!("width {share} of {of} neurons, in multiples of {multiple}, is {keep}: nothing would go"),
                "give a smaller width, or a smaller multiple with --multiple",
            ));
        }
        Ok(Narrowing { kind: UnitKind::Neuron, keep, of, multiple, layers })
    }

    /// Stages that are shown, or should give, other states than they do in the dense model because blocks or experts are gone: they train
    /// though nothing of them is pruned.
    pub(crate) fn drifting(&self, spec: &DecoderSpec) -> BTreeSet<StageId> {
        let one_by_one = self.reconstruction.granularity == Granularity::Matrix;
        let all = || spec.blocks.iter().enumerate().flat_map(|(index, block)| block.stage_ids(index));
        let lacks = |stage: &StageId| spec.is_before_gone(*stage) || spec.has_fewer(*stage);
        let gap = all().filter(|stage| !one_by_one && lacks(stage));
        if self.calibration.inputs == Inputs::Dense || self.reconstruction.targets == WindowTargets::Local {
            return gap.collect();
        }
        let after_gap = all().find(|stage| !spec.gone_before(stage.block).is_empty() || spec.has_fewer(*stage));
        gap.chain(all().filter(|&stage| after_gap.is_some_and(|first| stage >= first))).collect()
    }

    /// The share of neurons that is kept.
    fn share(&self, spec: &DecoderSpec, layers: &[(BranchId, Units)]) -> Result<f64> {
        let within = |key: &str, share: f64, hint: &str| {
            let is_share = share > 0.0 && share < 1.0;
            if is_share { Ok(share) } else { Err(conflict(&format!("shrink.{key} {share} is outside (0, 1)"), hint)) }
        };
        match (self.shrink.width, self.shrink.ratio) {
            (Some(_), Some(_)) => {
                Err(conflict("a width and a ratio both say how many neurons go", "leave one of them out"))
            }
            (Some(width), None) => within("width", width, "0.75 keeps three of four neurons"),
            (None, ratio) => {
                let ratio = within("ratio", ratio.unwrap_or(0.0), "0.25 takes a quarter of the weights of all blocks")?;
                let all: usize = spec.blocks.iter().map(|block| block.weights()).sum();
                let own = layers.iter().map(|(branch, units)| units.weights(&spec.blocks[branch.at.block]));
                let most = own.sum::<usize>() as f64 / all as f64;
                if ratio < most {
                    return Ok(1.0 - ratio / most);
                }
                let problem =
                    format!("feed-forward layers have {most:.3} of the weights of the blocks: {ratio} cannot go");
                Err(conflict(&problem, "take a smaller ratio, or prune weights: --sparsity"))
            }
        }
    }

    fn multiple(&self, of: usize, share: f64) -> Result<usize> {
        match self.shrink.multiple {
            Some(multiple) if multiple == 0 || multiple > of => {
                Err(conflict(&format!("shrink.multiple is {multiple}, of {of} neurons"), "give a divisor of the width"))
            }
            Some(multiple) => Ok(multiple),
            None => {
                let asked = share * of as f64;
                let fits = |multiple: &usize| of.is_multiple_of(*multiple) && *multiple < of;
                let is_near = |multiple: &usize| (nearest(asked, *multiple) as f64 - asked).abs() <= NEAR * of as f64;
                let near = MULTIPLES.into_iter().filter(fits).find(is_near);
                Ok(near.or_else(|| MULTIPLES.into_iter().rfind(fits)).unwrap_or(1))
            }
        }
    }
}

impl Depth {
    /// The blocks that go, or such as could be chosen: the last.
    pub fn numbers(&self, whole: &DecoderSpec) -> Vec<usize> {
        let of = whole.blocks.len();
        match self {
            Self::Named(numbers) => numbers.clone(),
            Self::Chosen(count) => (of - count..of).collect(),
        }
    }
}

impl Narrowing {
    /// The units of which this linear layer is a reader or a writer.
    pub fn units_of(&self, linear: LinearId) -> Option<&Units> {
        let own = self.layers.iter().filter(|(branch, _)| branch.at.block == linear.block).map(|(_, units)| units);
        let is_part = |units: &&Units| {
            units.reader == linear.index || units.writers.iter().any(|(writer, _)| *writer == linear.index)
        };
        own.into_iter().find(is_part)
    }

    /// The pattern of every matrix of a layer: place in the block, and what it keeps.
    pub(super) fn patterns(&self, spec: &DecoderSpec) -> Result<Vec<(LinearId, Pattern)>> {
        let mut patterns = Vec::new();
        for (branch, units) in &self.layers {
            let of = |index| LinearId { block: branch.at.block, index };
            let inputs = spec.linear(of(units.reader)).shape[1];
            let unit = inputs / units.count;
            patterns.push((of(units.reader), Pattern::inputs(self.keep * unit, inputs, unit)?));
            let mut writers: Vec<usize> = units.writers.iter().map(|(linear, _)| *linear).collect();
            writers.sort_unstable();
            writers.dedup();
            for linear in writers {
                let made = units.writers.iter().filter(|(writer, _)| *writer == linear).map(|(_, made)| made.len());
                let rows = spec.linear(of(linear)).shape[0];
                let gone = made.sum::<usize>() / units.count * (self.of - self.keep);
                patterns.push((of(linear), Pattern::outputs(rows - gone, rows)?));
            }
        }
        Ok(patterns)
    }
}
