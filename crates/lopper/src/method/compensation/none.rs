//! Nothing moves.

use crate::method::{LayerProblem, SolutionFacts};
use crate::sparsity::Mask;

pub(super) fn repair(_: &LayerProblem, _: &Mask, _: &mut SolutionFacts) -> Option<Vec<f32>> {
    None
}
