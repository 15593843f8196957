//! Blocks and experts that are to go.

use std::collections::BTreeMap;

use super::{Granularity, Inputs, Plan, conflict};
use crate::autograd::{Groups, Routing};
use crate::error::Result;
use crate::model::{DecoderSpec, Omitted};

impl Plan {
    /// What goes of a whole model. Where that is chosen later, other blocks and experts stand for it here.
    ///
    /// # Errors
    /// As [`Plan::depth`] and [`Plan::experts`].
    pub fn omitted(&self, whole: &DecoderSpec) -> Result<Omitted> {
        let blocks = self.depth(whole)?.map_or_else(Vec::new, |depth| depth.numbers(whole));
        let mut experts = BTreeMap::new();
        if let Some(keep) = self.experts(whole)? {
            for (number, block) in whole.blocks.iter().enumerate().filter(|(number, _)| !blocks.contains(number)) {
                let Some(&Routing { experts: count, groups, .. }) = block.routing() else { continue };
                let groups = groups.map_or(1, |groups| groups.count);
                let of_group = |group: usize| group * (count / groups)..group * (count / groups) + keep / groups;
                experts.insert(number, (0..groups).flat_map(of_group).collect());
            }
        }
        Ok(Omitted { blocks, experts })
    }

    /// Whether the matrix before blocks that go moves by least squares to stand in for them. Single matrices train to give their own outputs,
    /// windows of whole blocks to give what the gap is to give, and on dense inputs nothing is missing.
    pub fn stands_in(&self) -> bool {
        self.pruning.compensation != "none"
            && matches!(self.reconstruction.granularity, Granularity::None | Granularity::Submodule)
            && self.calibration.inputs != Inputs::Dense
    }

    /// How many experts of every layer of a whole model are kept; `None` if all are.
    ///
    /// # Errors
    /// If there are none, or tokens could not be sent to so many.
    pub fn experts(&self, whole: &DecoderSpec) -> Result<Option<usize>> {
        let Some(keep) = self.shrink.experts else { return Ok(None) };
        let Some(&Routing { experts, top_k, groups, .. }) = whole.blocks.iter().find_map(|block| block.routing())
        else {
            return Err(conflict("shrink.experts is about experts, and the model has none", "leave it out"));
        };
        let fault = |problem: String, hint: &str| Err(conflict(&format!("shrink.experts is {keep}, {problem}"), hint));
        if keep >= experts {
            return fault(
                format!("and the model has {experts} in a layer"),
                "give how many to keep, fewer than there are",
            );
        }
        if keep < top_k {
            return fault(format!("and every token goes to {top_k}"), "keep at least as many");
        }
        if let Some(Groups { count, kept, best }) = groups {
            let own = keep / count;
            if !keep.is_multiple_of(count) || own < best || own * kept < top_k {
                let problem =
                    format!("and they are in {count} groups, of which a token goes to {top_k} experts of {kept}");
                return fault(problem, "keep a larger multiple of the number of groups");
            }
        }
        if self.calibration.inputs == Inputs::Dense {
            return Err(conflict(
                "fewer experts and calibration.inputs = \"dense\" at once are not supported",
                "leave the inputs out: with fewer experts other tokens go to those that stay",
            ));
        }
        Ok(Some(keep))
    }
}
