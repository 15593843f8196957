//! Uniform noise, seeded: what a criterion must beat.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::calibration::Needs;
use crate::method::{Criterion, LayerProblem};
use crate::tensor::Tensor;

/// Integers below 2³², rounded to f32: more of them than [`Uniform`](crate::linalg::Uniform) has, so that few are equal.
pub struct Random;

impl Criterion for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        let mut generator = ChaCha8Rng::seed_from_u64(problem.seed);
        let mut draw = |score: &mut f32| *score = generator.next_u32() as f32;
        Tensor::filled(problem.weight.shape(), |scores| scores.iter_mut().for_each(&mut draw))
    }
}
