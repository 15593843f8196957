//! What is to disappear whole, so that the model becomes an ordinary smaller one.

use serde::{Deserialize, Serialize};

use super::{Plan, conflict};
use crate::error::Result;
use crate::method::Selection;
use crate::model::{BranchId, DecoderSpec, LinearId, Neurons};
use crate::sparsity::Pattern;

/// Multiples that runtimes like widths to be of, the best first: llama.cpp's k-quants want 256.
const MULTIPLES: [usize; 4] = [256, 128, 64, 32];

/// Key `[shrink]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShrinkPlan {
    /// Share of the neurons of every feed-forward layer that is kept; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
    /// The width kept is a multiple of this; if absent, of the largest of 256, 128, 64 and 32 that divides the width there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple: Option<usize>,
    /// Name of the criterion whose scores, summed over a neuron, say which go; `obs`, or `wanda` where nothing compensates, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
}

/// Which neurons there are, and how many of each feed-forward layer are kept.
#[derive(Clone, Debug)]
pub struct Width {
    /// Kept in every layer.
    pub keep: usize,
    /// Of so many.
    pub of: usize,
    /// Of every block.
    pub layers: Vec<(BranchId, Neurons)>,
}

impl Plan {
    /// How wide feed-forward layers are to be; `None` if they stay as they are.
    ///
    /// # Errors
    /// If that cannot be done to the model, or leaves nothing, or everything; or if weights are asked for beside it.
    pub fn width(&self, spec: &DecoderSpec) -> Result<Option<Width>> {
        let Some(share) = self.shrink.width else { return Ok(None) };
        if !(share > 0.0 && share < 1.0) {
            return Err(conflict(
                &format!("shrink.width {share} is outside (0, 1)"),
                "0.75 keeps three of four neurons",
            ));
        }
        if self.pruning.sparsity.is_some() || self.pruning.pattern.is_some() || !self.pruning.rules.is_empty() {
            return Err(conflict(
                "a width and a sparsity, a pattern or rules at once are not supported",
                "shrink first, then prune the result as any model",
            ));
        }
        let layers = spec.neurons()?;
        let of = layers.first().map_or(0, |(_, neurons)| neurons.count);
        let multiple = self.multiple(of)?;
        let keep = ((share * of as f64 / multiple as f64).round() as usize * multiple).max(multiple);
        if keep >= of {
            return Err(conflict(
                &format!("width {share} of {of} neurons, in multiples of {multiple}, is {keep}: nothing would go"),
                "give a smaller width, or a smaller multiple with --multiple",
            ));
        }
        Ok(Some(Width { keep, of, layers }))
    }

    pub(super) fn multiple(&self, of: usize) -> Result<usize> {
        match self.shrink.multiple {
            Some(multiple) if multiple == 0 || multiple > of => {
                Err(conflict(&format!("shrink.multiple is {multiple}, of {of} neurons"), "give a divisor of the width"))
            }
            Some(multiple) => Ok(multiple),
            None => {
                Ok(MULTIPLES.into_iter().find(|&multiple| of.is_multiple_of(multiple) && multiple < of).unwrap_or(1))
            }
        }
    }

    /// How neurons that go are chosen.
    ///
    /// # Errors
    /// If the criterion is unknown, or chooses single weights.
    pub fn neuron_selection(&self) -> Result<Selection> {
        let own = if self.pruning.compensation == "none" { "wanda" } else { "obs" };
        let selection = Selection::by_name(self.shrink.criterion.as_deref().unwrap_or(own), None)?;
        selection.check(&Pattern::Inputs { keep: 1, of: 2 })?;
        Ok(selection)
    }
}

impl Width {
    /// The pattern of every matrix of a layer: place in the block, and what it keeps.
    pub(super) fn patterns(&self, spec: &DecoderSpec) -> Result<Vec<(LinearId, Pattern)>> {
        let mut patterns = Vec::new();
        for (branch, neurons) in &self.layers {
            let block = branch.at.block;
            let id = |index| LinearId { block, index };
            patterns.push((id(neurons.reader), Pattern::inputs(self.keep, self.of)?));
            let mut writers: Vec<usize> = neurons.writers.iter().map(|(linear, _)| *linear).collect();
            writers.dedup();
            for linear in writers {
                let parts = neurons.writers.iter().filter(|(writer, _)| *writer == linear).count();
                let rows = spec.linear(id(linear)).shape[0];
                patterns.push((id(linear), Pattern::outputs(rows - parts * (self.of - self.keep), rows)?));
            }
        }
        Ok(patterns)
    }
}
