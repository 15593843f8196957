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
