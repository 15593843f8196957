//! How much memory a run may take, and whether it is enough.

use super::Estimate;
use crate::error::{Error, Result};
use crate::machine::available_memory;
use crate::plan::{ByteSize, Plan};

/// Of the memory that is free a run takes one part in so many less, if nothing is said.
const SPARED: u64 = 10;
/// Of the memory that a plan allows it takes one part in so many less: the estimate was up to 4 % too low.
const MARGIN: u64 = 16;

/// Memory that a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// What the plan allows, less a margin, in bytes.
    Asked(u64),
    /// What the machine can spare, less a margin, in bytes.
    Free(u64),
    /// The system does not tell.
    Unknown,
}

impl Budget {
    /// That of a plan, on this machine, now.
    pub fn of(plan: &Plan) -> Self {
        match plan.compute.memory {
            Some(ByteSize(bytes)) => Self::Asked(bytes - bytes / MARGIN),
            None => available_memory().map_or(Self::Unknown, |bytes| Self::Free(bytes - bytes / SPARED)),
        }
    }

    /// The bytes, if they are known.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Asked(bytes) | Self::Free(bytes) => Some(bytes),
            Self::Unknown => None,
        }
    }

    /// Whether a run fits. What to tell the user if it may not.
    ///
    /// # Errors
    /// [`Error::Plan`] if it needs more than the plan allows.
    pub fn check(self, estimate: &Estimate) -> Result<Option<String>> {
        let (peak, known) = (estimate.peak(), self.bytes());
        let (Some(budget), Some(phase)) = (known, estimate.phases.iter().max_by_key(|phase| phase.bytes())) else {
            return Ok(None);
        };
        if peak <= budget {
            return Ok(None);
        }
        let need = format!("{} needs about {} MiB", phase.name, peak >> 20);
        match self {
            Self::Asked(_) => Err(Error::Plan {
                problem: format!(
                    "{need}, more than the {} MiB that compute.memory leaves after a margin of a sixteenth",
                    budget >> 20
                ),
                hint: Some(
                    "allow more (--memory), or make less at a time: `lopper explain` says what takes it; a smaller \
                     --reconstruct, --optimizer adafactor, one of --epochs, shorter windows help"
                        .into(),
                ),
            }),
            _ => Ok(Some(format!("{need}, and {} MiB are free: the system may end the run", budget >> 20))),
        }
    }
}
