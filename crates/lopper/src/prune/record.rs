//! What a run has done, for its report and its audit.

use std::collections::BTreeSet;

use crate::report::{MatrixFacts, WindowFacts};

/// What was done.
#[derive(Default)]
pub(super) struct Record {
    pub matrices: Vec<MatrixFacts>,
    pub windows: Vec<WindowFacts>,
    /// Names of the tensors written anew.
    pub replaced: BTreeSet<String>,
}

impl Record {
    /// Keeps how much of what goes after a matrix is missed still.
    pub fn missed(&mut self, name: &str, share: f64) {
        if let Some(facts) = self.matrices.iter_mut().find(|facts| facts.name == name) {
            facts.missed = Some(share);
        }
    }
}
