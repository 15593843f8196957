//! Uniform noise, seeded: what a criterion must beat.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::method::LayerProblem;

pub(super) fn scores(problem: &LayerProblem) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(problem.seed);
    problem.weight.iter().map(|_| generator.next_u32() as f32).collect()
}
