//! Draws without replacement as Python's `random.Random(seed).sample`, which lm-evaluation-harness draws few-shot examples with, so
//! that the same seed gives the same examples.
//!
//! Source of bits: the Mersenne Twister MT19937 (M. Matsumoto, T. Nishimura, 1998, ACM TOMACS 8(1), 3–30). How Python makes a seed,
//! a number below n and a sample of them is written anew from its documented behaviour.

use std::collections::HashSet;

const N: usize = 624;
const M: usize = 397;

/// A generator of random numbers.
#[derive(Clone)]
pub struct Dice {
    state: Vec<u32>,
    next: usize,
}

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        let low = seed as u32;
        let key = if seed >> 32 == 0 { vec![low] } else { vec![low, (seed >> 32) as u32] };
        let mut state = vec![19_650_218_u32];
        for i in 1..N {
            let last = state[i - 1];
            state.push(1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32));
        }
        let mut dice = Self { state, next: N };
        dice.stir(&key);
        dice
    }

    /// Mixes a key into the state.
    fn stir(&mut self, key: &[u32]) {
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            self.mix(i, 1_664_525, key[j].wrapping_add(j as u32));
            (i, j) = (self.following(i), (j + 1) % key.len());
        }
        for _ in 0..N - 1 {
            self.mix(i, 1_566_083_941, (i as u32).wrapping_neg());
            i = self.following(i);
        }
        self.state[0] = 0x8000_0000;
    }

    fn mix(&mut self, i: usize, factor: u32, summand: u32) {
        let last = self.state[i - 1];
        self.state[i] = (self.state[i] ^ (last ^ (last >> 30)).wrapping_mul(factor)).wrapping_add(summand);
    }

    fn following(&mut self, i: usize) -> usize {
        if i + 1 < N {
            return i + 1;
        }
        self.state[0] = self.state[N - 1];
        1
    }

    /// 32 random bits.
    fn word(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number below `n`, which is at least 1 and below 2³².
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let number = (self.word() >> (32 - bits)) as usize;
            if number < n {
                return number;
            }
        }
    }

    /// `count` different numbers below `n`, in random order; `count` is at most `n`.
    pub fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        // Python keeps the pool as a list where that is smaller than a set of what was drawn
        let set = if count > 5 { 4_usize.pow((3.0 * count as f64).log(4.0).ceil() as u32) } else { 0 };
        if n <= 21 + set {
            let mut pool: Vec<usize> = (0..n).collect();
            return (0..count)
                .map(|i| {
                    let place = self.below(n - i);
                    let drawn = pool[place];
                    pool[place] = pool[n - i - 1];
                    drawn
                })
                .collect();
        }
        let mut drawn = HashSet::new();
        (0..count)
            .map(|_| {
                loop {
                    let number = self.below(n);
                    if drawn.insert(number) {
                        return number;
                    }
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn draws_are_those_of_python() {
        // r = random.Random(1234); r.sample(range(1000), 5); r.sample(range(1000), 3)
        let mut dice = Dice::new(1234);
        assert_eq!(dice.sample(1000, 5), [989, 796, 451, 119, 7]);
        assert_eq!(dice.sample(1000, 3), [92, 932, 965]);
        // r = random.Random(0); r.sample(range(10), 10); r.sample(range(10), 3)
        let mut dice = Dice::new(0);
        assert_eq!(dice.sample(10, 10), [6, 9, 0, 2, 4, 3, 5, 1, 8, 7]);
        assert_eq!(dice.sample(10, 3), [9, 3, 2]);
        // r = random.Random(7); r.sample(range(2000), 8); r.sample(range(2000), 3)
        let mut dice = Dice::new(7);
        assert_eq!(dice.sample(2000, 8), [663, 1941, 308, 808, 1333, 98, 148, 1681]);
        assert_eq!(dice.sample(2000, 3), [1097, 192, 748]);
        // r = random.Random(123_456_789_012_345); r.sample(range(30), 7); r.sample(range(30), 3)
        let mut dice = Dice::new(123_456_789_012_345);
        assert_eq!(dice.sample(30, 7), [21, 7, 9, 13, 28, 24, 16]);
        assert_eq!(dice.sample(30, 3), [28, 3, 19]);
    }
}
