//! Seeded noise.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers in [−1, 1) without end, all multiples of 2⁻²³ equally likely. A seed gives the same ones everywhere.
pub struct Uniform(ChaCha8Rng);

impl Uniform {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Iterator for Uniform {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        // 24 bits fill the significand of an f32: neither the quotient nor the difference is rounded
        Some((self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Uniform;

    #[test]
    fn a_seed_gives_what_it_gave_before() {
        let steps: Vec<f32> = Uniform::new(1).take(3).map(|x| x * 8_388_608.0).collect();
        assert_eq!(steps, [828_429.0, -1_636_020.0, 8_130_190.0]);
    }

    #[test]
    fn fills_the_interval_and_repeats_with_its_seed() {
        let numbers: Vec<f32> = Uniform::new(1).take(10_000).collect();
        assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)));
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / 1e4;
        let square = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / 1e4;
        // the mean of n numbers deviates from 0 by √(1/3n), that of their squares from 1/3 by √(4/45n)
        assert!(mean.abs() < 0.03 && (square - 1.0 / 3.0).abs() < 0.015, "{mean} {square}");
        assert!(Uniform::new(1).take(10_000).eq(numbers.iter().copied()));
        assert!(Uniform::new(2).take(10_000).ne(numbers));
    }
}
