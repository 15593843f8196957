//! The flags of what disappears: the model becomes an ordinary smaller one.

use std::ops::RangeInclusive;

use clap::Args;
use lopper::plan::Plan;

use super::choice::blocks;
use super::plan::set_some;

const SHRINKING: &str = "Shrinking";

/// What is to disappear.
#[derive(Args, Debug, Default)]
pub struct ShrinkOptions {
    /// Write an ordinary smaller model instead: of the weights of all blocks this share goes, as 0.25, in whole neurons of the feed-forward layers [default: none]
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["sparsity", "pattern", "rule", "width"], help_heading = SHRINKING)]
    pub ratio: Option<f64>,
    /// The same, saying what share of the neurons is kept, as 0.75 [default: none]
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["sparsity", "pattern", "rule"], help_heading = SHRINKING)]
    pub width: Option<f64>,
    /// Keep a multiple of N neurons [default: the largest of 256, 128, 64 and 32 that divides the width and comes near to what is asked for]
    #[arg(long, value_name = "N", help_heading = SHRINKING)]
    pub multiple: Option<usize>,
    /// Write a model with N key/value heads in every attention, each with the query heads that read it [default: none]
    #[arg(long, value_name = "N", conflicts_with_all = ["sparsity", "pattern", "rule"], help_heading = SHRINKING)]
    pub kv_heads: Option<usize>,
    /// Write a model with N experts in every layer of such: those without which its output would change most, trained to give what all gave [default: none]
    #[arg(long, value_name = "N", help_heading = SHRINKING)]
    pub experts: Option<usize>,
    /// Write a model of N blocks: the others go, all in a row, and what comes before them is trained to give what they gave [default: none]
    #[arg(long, value_name = "N", help_heading = SHRINKING)]
    pub depth: Option<usize>,
    /// The same, saying which blocks go, as 20-23,27 [default: none]
    #[arg(long, value_name = "BLOCKS", value_delimiter = ',', value_parser = blocks, conflicts_with = "depth", help_heading = SHRINKING)]
    pub drop: Vec<RangeInclusive<usize>>,
}

impl ShrinkOptions {
    /// What is given replaces what the plan has.
    pub fn apply(&self, plan: &mut Plan) {
        // neurons and heads that go and weights that become zero exclude each other: the flag replaces what the file has
        let is_wide = self.width.is_some() || self.ratio.is_some();
        if is_wide || self.kv_heads.is_some() {
            (plan.pruning.sparsity, plan.pruning.pattern) = (None, None);
        }
        if is_wide {
            (plan.shrink.ratio, plan.shrink.width) = (self.ratio, self.width);
        }
        set_some(&mut plan.shrink.kv_heads, self.kv_heads.as_ref());
        set_some(&mut plan.shrink.multiple, self.multiple.as_ref());
        set_some(&mut plan.shrink.experts, self.experts.as_ref());
        if self.depth.is_some() || !self.drop.is_empty() {
            plan.shrink.depth = self.depth;
            plan.shrink.drop = self.drop.iter().cloned().flatten().collect();
        }
    }
}
