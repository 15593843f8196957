//! Columns from left to right: the error of each pruned weight is spread over the columns to its right, `−w_j / U_jj · U_j,:`, and what
//! lies to its left stays frozen (Frantar & Alistarh 2023, arXiv 2301.00774; compensation S of arXiv 2410.15567).

use crate::method::walk::{Choice, Moving, walk};
use crate::method::{LayerProblem, SolutionFacts};
use crate::sparsity::Mask;
use crate::tensor::Tensor;

pub(super) fn repair(problem: &LayerProblem, mask: &Mask, facts: &mut SolutionFacts) -> Option<Tensor> {
    let inverse = facts.inverse_of(problem)?;
    let (_, weight) = walk(problem, inverse, &Choice::Given(mask.as_slice()), Moving::Sweep);
    Some(weight)
}
