//! What the journal of a run holds, and what of it another run may take up.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};

use super::sealed::unseal;
use super::{JOURNAL, MODEL, PLAN, SECOND};
use crate::checkpoint::Unfinished;
use crate::error::{Error, Result};
use crate::evaluation;
use crate::model::DecoderSpec;
use crate::plan::Allocation;
use crate::report::{MatrixFacts, ScoredModel, Timings, WindowFacts};

/// Names a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::prune) struct Identity {
    /// Fingerprint of everything that the outcome depends on.
    pub run: String,
    /// The same but for what is done with the blocks: how they are pruned and trained.
    pub input: String,
    /// How it is computed, in words: on one processor `auto` is another dtype than on the next.
    #[serde(default)]
    pub arithmetic: String,
}

/// What is kept of a run.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    pub version: String,
    pub identity: Identity,
    pub seconds: f64,
    pub timings: Timings,
    pub warnings: Vec<String>,
    pub models: Vec<Scored>,
    pub allocation: Option<Allocation>,
    /// Of the first so many blocks, where another plan made them.
    pub earlier: Option<(usize, Allocation)>,
    /// Blocks finished.
    pub blocks: usize,
    /// The hidden states after so many blocks are kept; 0 for none.
    pub states: usize,
    pub matrices: Vec<MatrixFacts>,
    pub windows: Vec<WindowFacts>,
    pub replaced: BTreeSet<String>,
    pub retrained: bool,
}

/// A model with its answers question by question, which a report leaves out.
#[derive(Serialize, Deserialize)]
pub(super) struct Scored {
    pub model: ScoredModel,
    pub records: Vec<Vec<evaluation::Record>>,
}

impl State {
    /// The journal that an earlier run has left; none of a run that was finished, and only not cleared away.
    pub fn read(unfinished: &Unfinished) -> Result<Option<Self>> {
        if !unfinished.has(JOURNAL) {
            return Ok(None);
        }
        let path = unfinished.path(JOURNAL);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let state: Self = unseal(&bytes)
            .map_err(|error| unfinished.damaged(path, format!("this is no journal of a run: {error}")))?;
        let model = if state.retrained { SECOND } else { MODEL };
        Ok((state.blocks == 0 || unfinished.has(model)).then_some(state))
    }

    /// Its first `blocks` blocks, and the scores of the dense model, for a run that does something else with the others.
    pub fn back_to(
        mut self,
        blocks: usize,
        identity: Identity,
        unfinished: &Unfinished,
        spec: &DecoderSpec,
    ) -> Result<Self> {
        if self.retrained || blocks > self.blocks {
            let problem = if self.retrained {
                "its model was retrained as a whole: no block of it can be done again".into()
            } else {
                format!("it has {} finished blocks: it cannot be done again from block {blocks} on", self.blocks)
            };
            return Err(Error::Checkpoint { path: unfinished.directory().into(), problem, hint: None });
        }
        self.states = if self.states > blocks { 0 } else { self.states };
        let prefixes: Vec<String> = (0..blocks).map(|block| spec.prefix(block)).collect();
        self.replaced.retain(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        self.matrices.retain(|facts| facts.block < blocks);
        self.windows.retain(|facts| facts.block < blocks);
        self.models.retain(|scored| scored.model.name == "dense");
        self.earlier = self.allocation.take().map(|mut allocation| {
            if let Some((first, earlier)) = &self.earlier {
                allocation.take_blocks(earlier, *first);
            }
            (blocks, allocation)
        });
        (self.blocks, self.identity) = (blocks, identity);
        if blocks > 0 {
            self.warnings.push(format!(
                "the first {blocks} blocks are of an earlier run, with other settings than the plan of this one"
            ));
        }
        Ok(self)
    }

    /// What to say when another run has left this.
    pub fn is_anothers(&self, own: &Identity, unfinished: &Unfinished) -> Error {
        let directory = unfinished.directory();
        let (theirs, own) = (&self.identity.arithmetic, &own.arithmetic);
        if theirs != own {
            return Error::Checkpoint {
                path: directory.into(),
                problem: format!(
                    "{} finished blocks were left here by a run that was computed otherwise: {theirs}; here it is {own}",
                    self.blocks
                ),
                hint: Some(format!(
                    "go on with its --dtype on such a processor, or remove {} to begin anew",
                    directory.display()
                )),
            };
        }
        Error::Checkpoint {
            path: directory.into(),
            problem: format!(
                "{} finished blocks of another run were left here: its plan, model, texts, processor or program (lopper {}) differ",
                self.blocks, self.version
            ),
            hint: Some(format!(
                "go on with its own plan (--plan {}), do its last blocks again with other settings (--redo-from), choose another \
                 output, or remove {} to begin anew",
                directory.join(PLAN).display(),
                directory.display()
            )),
        }
    }
}

/// What to say when a run should be done again that was not begun.
pub(super) fn nothing_to_redo(unfinished: &Unfinished) -> Error {
    Error::Checkpoint {
        path: unfinished.directory().into(),
        problem: "no unfinished run is here of which blocks could be done again".into(),
        hint: Some("leave out --redo-from".into()),
    }
}

/// Whether bytes are a journal.
///
/// # Errors
/// Why they are none.
#[doc(hidden)]
pub fn check_journal(bytes: &[u8]) -> Result<(), String> {
    unseal::<State>(bytes).map(drop)
}
