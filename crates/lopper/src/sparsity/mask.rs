//! Which weights of a matrix are kept.

use super::{Pattern, Scope};
use crate::linalg::select;

/// True where a weight is kept; [rows, columns] as the weight. Clones share the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    columns: usize,
    kept: std::sync::Arc<[u8]>,
}

impl Mask {
    /// From bytes, 1 for kept and 0 for pruned.
    pub fn new(columns: usize, kept: Vec<u8>) -> Self {
        debug_assert!(kept.len().is_multiple_of(columns.max(1)) && kept.iter().all(|&byte| byte < 2));
        Self { columns, kept: kept.into() }
    }

    /// The mask that `pattern` asks for by these scores: of each scope the smallest are pruned, ties at the lower index.
    /// A NaN counts as larger than any number.
    pub fn from_scores(scores: &[f32], columns: usize, pattern: &Pattern) -> Self {
        let (length, pruned) = match *pattern {
            Pattern::Unstructured { sparsity, scope: Scope::Matrix } => {
                (scores.len(), Pattern::pruned_of(sparsity, scores.len()))
            }
            Pattern::Unstructured { sparsity, scope: Scope::Row } => (columns, Pattern::pruned_of(sparsity, columns)),
            Pattern::NofM { keep, of } => (of, of - keep),
        };
        Self::new(columns, select::keep_largest(scores, length, pruned))
    }

    /// One byte per weight, 1 for kept.
    pub fn as_slice(&self) -> &[u8] {
        &self.kept
    }

    /// Length of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many weights are pruned.
    pub fn pruned(&self) -> usize {
        self.kept.len() - self.kept.iter().map(|&kept| usize::from(kept)).sum::<usize>()
    }
}
