//! The one source of chance: `ChaCha8`, keyed by a seed and a document number.
//!
//! Document `n` of seed `s` is the key `s` on stream `n`, so a document depends on nothing that
//! was written before it. Ranges are taken by a widening multiplication of our own, so the text
//! stays the same when the `rand` crates change how they draw from a range.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded die.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The die of one document.
    pub(crate) fn new(seed: u64, document: u64) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(document);
        Self(generator)
    }

    /// A number in `0..limit`; `limit` is at least one. The bias, below `limit`/2³², is harmless here.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        ((u64::from(self.0.next_u32()) * limit as u64) >> 32) as usize
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below((high - low + 1) as usize) as u32
    }

    /// True `percent` times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which is not empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// `count` different members of `items`, in an order of chance.
    pub(crate) fn several<'a, T>(&mut self, count: usize, items: &'a [T]) -> Vec<&'a T> {
        let mut pool: Vec<&T> = items.iter().collect();
        for place in 0..count.min(items.len()) {
            let other = place + self.below(pool.len() - place);
            pool.swap(place, other);
        }
        pool.truncate(count);
        pool
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn same_seed_same_throws_and_other_stream_other_throws() {
        let throws = |seed, document| {
            let mut dice = Dice::new(seed, document);
            (0..32).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(throws(1, 2), throws(1, 2));
        assert_ne!(throws(1, 2), throws(1, 3));
        assert_ne!(throws(1, 2), throws(2, 2));
    }

    #[test]
    fn ranges_are_closed_and_reached() {
        let mut dice = Dice::new(7, 0);
        let seen: std::collections::BTreeSet<u32> = (0..200).map(|_| dice.between(3, 6)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
    }

    #[test]
    fn several_are_different() {
        let mut dice = Dice::new(7, 1);
        let mut drawn = dice.several(5, &[1, 2, 3, 4, 5]);
        drawn.sort();
        assert_eq!(drawn, [&1, &2, &3, &4, &5]);
    }
}
