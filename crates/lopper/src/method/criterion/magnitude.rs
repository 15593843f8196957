//! `|W_ij|`: the oldest criterion, and still the one that needs nothing else.

use crate::method::LayerProblem;

pub(super) fn scores(problem: &LayerProblem) -> Vec<f32> {
    problem.weight.iter().map(|w| w.abs()).collect()
}
