//! What is in memory at each step of the schedule: hidden states, blocks, statistics. The steps say what is made and let go of.

use std::collections::{BTreeMap, BTreeSet};

use super::Sizes;
use super::memory::F32;
use crate::calibration::Needs;
use crate::model::{BranchId, LinearId};
use crate::schedule::{State, Step, Trained};

/// What is in memory at a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Alive {
    /// Which numbers each state holds: a copy holds those of the original until it moves; and how wide they are.
    states: BTreeMap<State, (usize, usize)>,
    contents: usize,
    /// Of each branch in memory, whether its dense weights are there, whether it is pruned, and whether its statistics are known.
    branches: BTreeMap<BranchId, Held>,
    /// Of which blocks the experts that are gone are there too.
    whole: BTreeSet<usize>,
    /// Bytes that a step takes for itself.
    at_hand: u64,
}

/// Whose inputs the statistics in memory are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    /// The sequences that train.
    Trained,
    /// Those held out too, until the branch is pruned.
    All,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    dense: bool,
    pruned: bool,
    statistics: Known,
}

impl Alive {
    /// Before the first window.
    pub fn new(sizes: &Sizes) -> Self {
        let mut alive = Self::default();
        sizes.schedule.kept().for_each(|state| alive.write(state, sizes.spec.hidden));
        alive
    }

    fn write(&mut self, state: State, width: usize) {
        self.contents += 1;
        self.states.insert(state, (self.contents, width));
    }

    /// Takes a step into account. What it writes is there while it runs, what it lets go of is gone.
    pub fn step(&mut self, step: &Step, sizes: &Sizes) {
        let hidden = sizes.spec.hidden;
        let linear = |id: &LinearId| sizes.spec.linear(*id).shape;
        self.at_hand = 0;
        if !matches!(step, Step::Prune(_)) {
            let judged = self.branches.values_mut().filter(|held| held.statistics == Known::All);
            judged.for_each(|held| held.statistics = Known::Trained);
        }
        match step {
            Step::Load(block) => {
                let held = Held { dense: true, ..Held::default() };
                self.branches.extend(sizes.spec.blocks[*block].branch_ids(*block).map(|branch| (branch, held)));
                if sizes.schedule.dense_stream && sizes.spec.whole(*block) != &sizes.spec.blocks[*block] {
                    self.whole.insert(*block);
                }
            }
            Step::Calibrate { branches, writes, .. } => {
                let known = match sizes.schedule.needs {
                    Needs::Nothing | Needs::ColumnNorms => Known::Nothing,
                    _ if sizes.run.judges => Known::All,
                    _ => Known::Trained,
                };
                self.each(branches, |held| held.statistics = known);
                if let Some(state) = *writes {
                    self.write(state, hidden);
                }
            }
            Step::Prune(branches) => self.each(branches, |held| held.pruned = true),
            Step::Copy { from, to } => {
                if let Some(&content) = self.states.get(from) {
                    self.states.insert(*to, content);
                }
            }
            Step::Move { state, .. } => self.write(*state, hidden),
            Step::Pass { state, number } => {
                self.at_hand = sizes.spec.gone[number].weights() as u64 * F32;
                self.write(*state, hidden);
            }
            Step::StandIn { linear: id, .. } => {
                let [d_out, d_in] = linear(id).map(|n| n as u64);
                // of the rows that train and of those held out; a full Gram matrix, and what the solver iterates
                let moments = 2 * (d_out * d_in * 8 + gram(d_in as usize, Needs::Gram));
                self.at_hand = moments + (d_in * d_in + 5 * d_out * d_in) * F32;
            }
            Step::Capture { linear: id, to, .. } => self.write(*to, linear(id)[1]),
            Step::Apply { linear: id, to, .. } => self.write(*to, linear(id)[0]),
            Step::Release(branches) => {
                self.each(branches, |held| held.dense = false);
                let has_dense =
                    |block: &usize| self.branches.iter().any(|(branch, held)| branch.at.block == *block && held.dense);
                self.whole.retain(has_dense);
            }
            Step::ForgetStatistics(branches) => self.each(branches, |held| held.statistics = Known::Nothing),
            Step::Rename { from, to } => {
                if let Some(content) = self.states.remove(from) {
                    self.states.insert(*to, content);
                }
            }
            Step::Forget(state) => {
                self.states.remove(state);
            }
            Step::Train { .. } | Step::Round(_) => {}
        }
    }

    /// After a window: its blocks are written.
    pub fn end_window(&mut self) {
        self.branches.clear();
        self.whole.clear();
    }

    fn each(&mut self, branches: &[BranchId], f: impl Fn(&mut Held)) {
        branches.iter().filter_map(|branch| self.branches.get_mut(branch).map(&f)).count();
    }

    /// Numbers per token of the states between stages, and of what the layer at hand reads and should give.
    pub fn states(&self) -> [usize; 2] {
        let of = |layer: bool| {
            let named = self.states.iter().filter(|(state, _)| is_of_layer(**state) == layer);
            let distinct: BTreeSet<(usize, usize)> = named.map(|(_, &content)| content).collect();
            distinct.into_iter().map(|(_, width)| width).sum()
        };
        [of(false), of(true)]
    }

    /// Bytes of the weights in memory, with their masks.
    pub fn weights(&self, sizes: &Sizes) -> u64 {
        let of = |(branch, held): (&BranchId, &Held)| {
            let spec = &sizes.spec.blocks[branch.at.block];
            let weights = spec.branch_weights(spec.branch(*branch)) as u64;
            weights * (u64::from(held.dense) * F32 + u64::from(held.pruned) * (F32 + 1))
        };
        let whole = self.whole.iter().map(|&block| sizes.spec.whole(block).weights() as u64 * F32);
        self.at_hand + whole.sum::<u64>() + self.branches.iter().map(of).sum::<u64>()
    }

    /// Whether dense weights are there beside pruned ones, and how many blocks are in memory.
    pub fn shape(&self) -> (bool, usize) {
        let both = self.branches.values().any(|held| held.dense) && self.branches.values().any(|held| held.pruned);
        (both, self.branches.keys().map(|branch| branch.at.block).collect::<BTreeSet<_>>().len())
    }

    /// Bytes of the Gram matrices, packed f64, and of the factors of their inverses.
    pub fn statistics(&self, sizes: &Sizes) -> u64 {
        let known = self.branches.iter().filter(|(_, held)| held.statistics != Known::Nothing);
        let of = |(branch, held): (&BranchId, &Held)| {
            let spec = &sizes.spec.blocks[branch.at.block];
            let inputs = spec.inputs_of(spec.branch(*branch)).into_iter();
            let held_out = |n| if held.statistics == Known::All { gram(n, Needs::Gram) } else { 0 };
            inputs.map(|n| gram(n, sizes.schedule.needs) + held_out(n)).sum::<u64>()
        };
        known.map(of).sum()
    }
}

/// Whether a state is what a linear layer reads or gives.
fn is_of_layer(state: State) -> bool {
    matches!(state, State::LayerInputs | State::LayerDense | State::LayerTargets)
}

/// Bytes of the statistics of `n` inputs.
pub(super) fn gram(n: usize, needs: Needs) -> u64 {
    let n = n as u64;
    let factor = if needs == Needs::InverseHessian { n * n * F32 } else { 0 };
    if needs >= Needs::Gram { n * (n + 1) / 2 * 8 + factor } else { 0 }
}

/// The linear layers that train together.
pub(super) fn linears_of(window: &Trained, sizes: &Sizes) -> Vec<LinearId> {
    match window {
        Trained::Linear(linear) => vec![*linear],
        Trained::Branches(branches) => branches.iter().flat_map(|&branch| sizes.spec.linears_of(branch)).collect(),
    }
}
