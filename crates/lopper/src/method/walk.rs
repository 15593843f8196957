//! The matrix in blocks of columns from left to right: choose what to prune inside a block, move what remains, go on.
//!
//! * Moving by the *sweep*: the error of each pruned weight is spread over the columns to its right; what lies to its left stays
//!   frozen. Inside a block column by column, beyond it by products (Frantar & Alistarh 2023, arXiv 2301.00774): the next few blocks
//!   at once, what lies further to the right when those are done, so that it is read and written less often.
//! * Moving *jointly*: between blocks all unpruned weights, those to the left too, go to the optimum that keeps everything pruned so
//!   far at zero (Zhao et al. 2024, arXiv 2410.15567). The paper solves this row by row; here a few conjugate-gradient iterations
//!   from where the last block ended do it for all rows. Inside a block masks are chosen as the sweep goes.

use std::ops::Range;

use lopper_kernels::{Elimination, Precision, View, matmul, zeros};
use rayon::prelude::*;

use super::LayerProblem;
use super::groups::GroupRule;
use crate::linalg::{InverseHessian, masked_least_squares, select};
use crate::sparsity::{Mask, Pattern, Scope};
use crate::tensor::Tensor;

/// Blocks whose errors reach what lies beyond them in one product.
const TOGETHER: usize = 4;
/// Conjugate-gradient iterations between two blocks; the residual they leave is taken up after the next one.
const ITERATIONS: usize = 4;
/// The same solver's tolerance.
const TOLERANCE: f64 = 1e-3;
/// What a dead input's variance is multiplied by, so that its group always prunes it first.
const DEAD: f64 = 1e12;

/// How a walk chooses.
pub(super) enum Choice<'a> {
    /// This mask [d_out, d_in].
    Given(&'a [u8]),
    /// The smallest `w²·importance_j` of each block, or of each group; importances of all columns.
    Saliency(Vec<f32>),
    /// The subset of each group whose joint removal costs least.
    Subset,
}

/// What a walk does to the weights that remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// Nothing.
    Nothing,
    /// Those to the right of a pruned weight.
    Sweep,
    /// All of them, between blocks.
    Joint,
}

/// What is kept [d_out, d_in], and the weight [d_out, d_in] as it has moved.
struct State {
    kept: Vec<u8>,
    weight: Vec<f32>,
}

/// Walks over a layer. `H` of the sweep and of the saliencies is that of `inverse`. Returns the mask and the weight [d_out, d_in], zero
/// wherever the mask prunes. A joint walk leaves the last move to its caller.
pub(super) fn walk(
    problem: &LayerProblem,
    inverse: &InverseHessian,
    choice: &Choice,
    moving: Moving,
) -> (Mask, Tensor) {
    let (n, dense) = (problem.columns(), problem.weight.host());
    let mut state = State { kept: vec![1; dense.len()], weight: lopper_kernels::copied(dense) };
    let gram = problem.inputs.gram.as_ref().filter(|_| moving == Moving::Joint);
    let h = gram.map(|gram| gram.damped(inverse.damping()));
    let width = block_width(problem);
    let mut errors = Errors::new(problem.rows(), TOGETHER * width);
    for first in (0..n).step_by(width) {
        let block = Block { problem, inverse, moving, first, width: width.min(n - first) };
        if let Choice::Given(mask) = choice {
            for (kept, mask) in state.kept.chunks_exact_mut(n).zip(mask.chunks_exact(n)) {
                kept[block.range()].copy_from_slice(&mask[block.range()]);
            }
        } else if let (Choice::Saliency(importance), Pattern::Unstructured { .. }) = (choice, problem.pattern) {
            block.choose(&mut state, &importance[block.range()]);
        }
        let rule = block.group_rule(choice);
        // no choice follows the last block: what moves jointly is left to the solver that takes over from there
        let h = h.as_ref().filter(|_| block.range().end < n);
        let before = h.map(|_| state.weight.clone());
        block.eliminate(&mut state, rule.as_ref(), &mut errors);
        if let (Some(h), Some(before)) = (h, before) {
            let start = Some(&before[..]);
            state.weight = masked_least_squares(dense, start, &state.kept, h.host(), ITERATIONS, TOLERANCE).weight;
        } else if moving == Moving::Sweep {
            block.spread(&mut state.weight, &errors);
        }
    }
    (Mask::new(n, state.kept), Tensor::new(problem.weight.shape(), state.weight))
}

/// Columns per block: as asked, and whole groups.
fn block_width(problem: &LayerProblem) -> usize {
    let asked = problem.settings.column_block.clamp(1, problem.columns());
    match *problem.pattern {
        Pattern::NofM { of, .. } => (asked / of * of).max(of),
        Pattern::Unstructured { .. } | Pattern::Inputs { .. } | Pattern::Outputs { .. } => asked,
    }
}

/// A block of columns of the walk.
struct Block<'a> {
    problem: &'a LayerProblem<'a>,
    inverse: &'a InverseHessian,
    moving: Moving,
    first: usize,
    width: usize,
}

impl Block<'_> {
    fn range(&self) -> Range<usize> {
        self.first..self.first + self.width
    }

    /// Marks the smallest `w²·importance` of the block: of each row, or of all rows together. Over all blocks the counts of a scope
    /// add up to exactly what the pattern asks for.
    fn choose(&self, state: &mut State, importance: &[f32]) {
        let Pattern::Unstructured { sparsity, scope } = *self.problem.pattern else { return };
        let (n, range) = (self.problem.columns(), self.range());
        let mut scores = zeros(state.weight.len() / n * self.width);
        scores.par_chunks_exact_mut(self.width).zip(state.weight.par_chunks_exact(n)).for_each(|(scores, row)| {
            for (score, (w, importance)) in scores.iter_mut().zip(row[range.clone()].iter().zip(importance)) {
                *score = w * w * importance;
            }
        });
        let rows = if scope == Scope::Row { 1 } else { state.weight.len() / n };
        let until = |column: usize| Pattern::pruned_of(sparsity, rows * column);
        let kept = select::keep_largest(&scores, rows * self.width, until(range.end) - until(range.start));
        for (row, kept) in state.kept.chunks_exact_mut(n).zip(kept.chunks_exact(self.width)) {
            row[range.clone()].copy_from_slice(kept);
        }
    }

    /// How groups of this block are chosen; `None` where the mask is there already.
    fn group_rule(&self, choice: &Choice) -> Option<GroupRule> {
        let Pattern::NofM { keep, of } = *self.problem.pattern else { return None };
        match choice {
            Choice::Given(_) => None,
            Choice::Saliency(importance) => Some(GroupRule::saliency(&importance[self.range()], keep, of)),
            Choice::Subset => {
                let inverses = self.range().step_by(of).map(|first| self.group_inverse(first, of)).collect();
                Some(GroupRule::subset(inverses, keep, of))
            }
        }
    }

    /// `[H⁻¹]_GG` as the weights of a group see it: with everything to the left frozen if it is. A dead input costs nothing.
    fn group_inverse(&self, first: usize, of: usize) -> Vec<f64> {
        let mut inverse = match self.moving {
            Moving::Sweep => self.inverse.group_of_rest(first, of),
            Moving::Nothing | Moving::Joint => self.inverse.group(first, of),
        };
        for (j, square) in self.problem.inputs.squares.host()[first..first + of].iter().enumerate() {
            inverse[j * of + j] *= if *square == 0.0 { DEAD } else { 1.0 };
        }
        inverse
    }

    /// Chooses groups, if that is still to be done, and moves the rest of the block. The errors of the sweep go to their columns.
    fn eliminate(&self, state: &mut State, rule: Option<&GroupRule>, errors: &mut Errors) {
        let (n, width, range) = (self.problem.columns(), self.width, self.range());
        let place = errors.place(&range);
        let upper = self.upper();
        let elimination = Elimination::new(&upper, width);
        let rows = state.weight.par_chunks_exact_mut(n).zip(state.kept.par_chunks_exact_mut(n));
        let errors = errors.negative.par_chunks_exact_mut(errors.span);
        rows.zip(errors).for_each_init(Vec::new, |scratch, ((weight, kept), errors)| {
            let (weight, kept, errors) =
                (&mut weight[range.clone()], &mut kept[range.clone()], &mut errors[place.clone()]);
            let step = rule.map_or(width, GroupRule::length);
            for (group, first) in (0..width).step_by(step).enumerate() {
                let columns = first..first + step;
                if let Some(rule) = rule {
                    rule.choose(group, &weight[columns.clone()], &mut kept[columns.clone()], scratch);
                }
                if self.moving == Moving::Nothing {
                    weight[columns.clone()].iter_mut().zip(&kept[columns]).for_each(|(w, &kept)| *w *= f32::from(kept));
                } else {
                    elimination.eliminate(weight, first, &kept[columns], errors);
                }
            }
            for error in errors {
                *error = -*error;
            }
        });
    }

    /// The square of U on the diagonal that belongs to this block.
    fn upper(&self) -> Vec<f32> {
        let (n, upper) = (self.problem.columns(), self.inverse.upper().host());
        self.range().flat_map(|row| &upper[row * n..][self.range()]).copied().collect()
    }

    /// Spreads the errors of this block over the blocks that share a product with it; after the last of those, theirs over the rest.
    fn spread(&self, weight: &mut [f32], errors: &Errors) {
        let (n, range) = (self.problem.columns(), self.range());
        let first = range.start / errors.span * errors.span;
        let end = n.min(first + errors.span);
        self.subtract(weight, errors, range.clone(), range.end..end);
        if range.end == end {
            self.subtract(weight, errors, first..end, end..n);
        }
    }

    /// `W[:, to] −= E[:, from]·U[from, to]`.
    fn subtract(&self, weight: &mut [f32], errors: &Errors, from: Range<usize>, to: Range<usize>) {
        if to.is_empty() {
            return;
        }
        let n = self.problem.columns();
        let place = errors.place(&from);
        let errors = View::strided(&errors.negative[place.start..], weight.len() / n, from.len(), errors.span);
        let upper = View::strided(&self.inverse.upper().host()[from.start * n + to.start..], from.len(), to.len(), n);
        matmul(&mut weight[to.start..], n, true, errors, upper, Precision::F32);
    }
}

/// Negative errors of the blocks at hand [d_out, span].
struct Errors {
    negative: Vec<f32>,
    span: usize,
}

impl Errors {
    fn new(rows: usize, span: usize) -> Self {
        Self { negative: zeros(rows * span), span }
    }

    /// Where columns of the matrix are, which belong to one span.
    fn place(&self, columns: &Range<usize>) -> Range<usize> {
        let start = columns.start % self.span;
        start..start + columns.len()
    }
}
