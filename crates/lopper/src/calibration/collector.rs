//! Statistics of the inputs of several linear layers, as forward passes show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::statistics::{InputStatistics, Needs};
use crate::error::Result;
use crate::model::Tap;
use crate::tensor::Tensor;

/// Statistics of the inputs of some linear layers of a block, by the first layer that reads an input.
pub type BlockStatistics = BTreeMap<usize, InputStatistics>;

/// Collects the statistics of the inputs that it is given.
pub struct Collector {
    needs: Needs,
    judges: bool,
    collected: BlockStatistics,
    /// Layers that read what an earlier one reads, and which.
    alike: BTreeMap<usize, usize>,
}

impl Collector {
    /// Of no input yet. Gram matrices are also made of the rows held out if it `judges`.
    pub fn new(needs: Needs, judges: bool) -> Self {
        Self { needs, judges, collected: BTreeMap::new(), alike: BTreeMap::new() }
    }

    /// Adds what each layer saw of the first `tokens` tokens; the others are held out.
    pub fn add(&mut self, seen: &SeenInputs, tokens: usize) {
        if self.needs == Needs::Nothing {
            return;
        }
        for (place, Seen { first, input, tokens: of }) in seen.0.iter().enumerate() {
            let same = |other: &&Seen| std::ptr::eq(other.input.host(), input.host());
            if let Some(earlier) = seen.0[..place].iter().find(same).filter(|_| !input.is_empty()) {
                self.alike.insert(*first, earlier.first);
                continue;
            }
            let width = input.width();
            let statistics = self.collected.entry(*first).or_insert_with(|| InputStatistics::new(width, self.needs));
            let rows = of.as_ref().map_or(tokens, |of| of.partition_point(|&token| (token as usize) < tokens));
            let (counted, held_out) = input.host().split_at(input.len().min(rows * width));
            statistics.add(counted);
            if self.judges && self.needs >= Needs::Gram && !held_out.is_empty() {
                statistics.hold_out(held_out);
            }
        }
    }

    /// How many tokens each layer saw.
    pub fn tokens(&self) -> BTreeMap<usize, usize> {
        self.each().map(|(first, own)| (first, own.tokens)).collect()
    }

    /// What each layer saw.
    fn each(&self) -> impl Iterator<Item = (usize, &InputStatistics)> {
        let alike = self.alike.iter().filter_map(|(&first, earlier)| Some((first, self.collected.get(earlier)?)));
        self.collected.iter().map(|(&first, own)| (first, own)).chain(alike)
    }

    /// Completes what was seen with what another saw of the same layers, as [`InputStatistics::complete`].
    pub fn complete(&mut self, all: &Self, wanted: usize) {
        for (first, all) in all.each() {
            if let Some(own) = self.collected.get_mut(&first) {
                own.complete(all, wanted);
            }
        }
    }

    /// Takes what another saw in the place of what was seen of the same layers.
    pub fn replace(&mut self, all: &Self) {
        self.collected.extend(all.each().map(|(first, all)| (first, all.clone())));
    }

    /// The statistics. `damping` is γ as a share of the mean diagonal.
    pub fn finish(mut self, damping: f64) -> BlockStatistics {
        let all: Vec<usize> = self.alike.keys().copied().filter(|first| !self.collected.contains_key(first)).collect();
        for first in all {
            let earlier = self.collected[&self.alike[&first]].clone();
            self.collected.insert(first, earlier);
        }
        self.collected.values_mut().for_each(|statistics| statistics.finish(damping));
        self.collected
    }
}

/// The inputs that linear layers read in a forward pass, by the first layer that reads each, so that they can be counted in the order
/// of the batches.
#[derive(Default)]
pub struct SeenInputs(Vec<Seen>);

/// What a layer read.
struct Seen {
    first: usize,
    input: Tensor,
    /// The tokens that its rows are, in order, where it did not read all of them.
    tokens: Option<Arc<[u32]>>,
}

impl SeenInputs {
    /// Takes the input of one layer out, with a row for each of `tokens` tokens: zeros for those that it did not read.
    pub fn take(self, first: usize, tokens: usize) -> Option<Tensor> {
        let Seen { input, tokens: of, .. } = self.0.into_iter().find(|seen| seen.first == first)?;
        let Some(of) = of else { return Some(input) };
        let width = input.width();
        let mut whole = Tensor::zeros([tokens, width]);
        let rows = whole.host_mut();
        for (row, &token) in input.host().chunks(width).zip(&*of) {
            rows[token as usize * width..][..width].copy_from_slice(row);
        }
        Some(whole)
    }
}

impl Tap for SeenInputs {
    fn linear_input(&mut self, first: usize, input: &Tensor, tokens: Option<&Arc<[u32]>>) -> Result<()> {
        self.0.push(Seen { first, input: input.clone(), tokens: tokens.cloned() });
        Ok(())
    }
}

/// Keeps the inputs of some linear layers.
pub struct Of<'a> {
    /// Which, by the first that reads an input.
    pub linears: &'a [usize],
    /// Where they are kept.
    pub seen: &'a mut SeenInputs,
    /// Whether experts read every token.
    pub every_token: bool,
}

impl Tap for Of<'_> {
    fn linear_input(&mut self, first: usize, input: &Tensor, tokens: Option<&Arc<[u32]>>) -> Result<()> {
        if self.wants(first) { self.seen.linear_input(first, input, tokens) } else { Ok(()) }
    }

    fn wants(&self, first: usize) -> bool {
        self.linears.contains(&first)
    }

    fn every_token(&self) -> bool {
        self.every_token
    }
}
