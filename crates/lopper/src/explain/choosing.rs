//! Memory of the passes over the dense model that choose what goes.

use super::Sizes;
use super::memory::{F32, Item, Phase};
use crate::calibration::{MOST_OUTPUTS, MOST_PRODUCTS};

impl Sizes<'_> {
    /// Blocks that go are chosen: the states before as many of them as go, those after, and a block.
    pub(super) fn measuring(&self) -> Phase {
        let row = self.spec.hidden as u64 * self.plan.compute.hidden_states.bytes();
        let activations = self.most(|_, branch| branch.program.numbers_forward() as u64) * self.batch_tokens() * F32;
        let items = vec![
            self.states((self.spec.gone.len() + 1) as u64 * self.looked_at() as u64 * row),
            Item { name: "one block", bytes: self.spec.largest_block() as u64 * F32 },
            Item { name: "activations of one batch", bytes: activations },
        ];
        Phase { name: "choosing the blocks that go", items }
    }

    /// Experts that stay are chosen: one stream of states, a block, what all its experts give, and their products.
    pub(super) fn comparing(&self) -> Phase {
        let tokens = self.looked_at() as u64;
        let activations = self.most(|_, branch| branch.program.numbers_forward() as u64) * self.batch_tokens() * F32;
        let row = self.spec.hidden as u64 * self.plan.compute.hidden_states.bytes();
        let most =
            self.spec.fewer.values().filter_map(|fewer| fewer.whole.routing()).map(|routing| routing.experts as u64);
        let experts = most.max().unwrap_or(0);
        let outputs = (MOST_OUTPUTS as u64).min(tokens * experts * self.spec.hidden as u64);
        let products = (MOST_PRODUCTS as u64).min(tokens * experts * experts);
        let items = vec![
            self.states(tokens * row),
            Item { name: "one block", bytes: self.spec.largest_block() as u64 * F32 },
            Item { name: "activations of one batch", bytes: activations },
            Item { name: "outputs of all experts at a time", bytes: outputs * F32 },
            Item { name: "products of the outputs of experts", bytes: products * F32 },
        ];
        Phase { name: "choosing the experts that stay", items }
    }
}
