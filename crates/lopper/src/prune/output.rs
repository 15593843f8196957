//! What a run writes: a copy of the input with some tensors replaced, or what is left of that when neurons, heads, experts or blocks are taken out.

use std::path::Path;

use super::compact::cuts;
use super::job::Job;
use super::journal::Journal;
use crate::checkpoint::{Changes, Checkpoint, Composition, Rewrite};
use crate::error::Result;
use crate::model::{Decoder, Omitted};
use crate::plan::Narrowing;
use crate::progress::Event;
use crate::report::Stage;

/// The files of a run.
pub(super) enum Output<'a> {
    /// Of the shape of the input.
    Copy(Rewrite<'a>),
    /// Smaller.
    Smaller(Composition),
}

impl Output<'_> {
    /// Takes neurons, heads, experts and blocks out of a model that is complete.
    pub fn smaller(
        job: &mut Job,
        (narrowings, config): (&[Narrowing], &serde_json::Value),
        full: &Decoder,
        (out, journal): (&Path, &Journal),
    ) -> Result<Self> {
        job.observer.event(Event::Stage { name: "writing the smaller model" });
        let mut cuts = cuts(full, narrowings)?;
        cuts.extend(full.spec().cuts());
        let name = |name: &str| full.spec().left(name, !narrowings.is_empty());
        let ahead = full.checkpoint().names().filter(|tensor| full.spec().is_ahead(tensor) && name(tensor).is_none());
        if let Some(first) = ahead.min() {
            job.warn(format!(
                "layers that predict tokens further ahead ({first}, …) are left out: they are as wide as the blocks were, and are not pruned here"
            ));
        }
        let changes = Changes { cuts, name: &name, config };
        let composition = job
            .timings
            .measure(Stage::Write, || Composition::write(full.checkpoint(), (out, journal.smaller()), &changes))?;
        Ok(Self::Smaller(composition))
    }

    /// The model as it will be read; of a copy, without what is to go.
    pub fn open(&mut self, omitted: &Omitted) -> Result<Decoder> {
        match self {
            Self::Copy(rewrite) => open(rewrite, omitted),
            Self::Smaller(composition) => Decoder::open(Checkpoint::open(composition.directory())?),
        }
    }

    /// Adds files, and gives everything its name.
    pub fn publish(self, files: &[(&str, &[u8])]) -> Result<()> {
        match self {
            Self::Copy(mut rewrite) => {
                files.iter().try_for_each(|(name, bytes)| rewrite.add_file(name, bytes))?;
                rewrite.publish()
            }
            Self::Smaller(composition) => {
                files.iter().try_for_each(|(name, bytes)| composition.add_file(name, bytes))?;
                composition.publish()
            }
        }
    }
}

/// The model as it has been written so far, without what is to go.
pub(super) fn open(rewrite: &mut Rewrite, omitted: &Omitted) -> Result<Decoder> {
    Decoder::open(Checkpoint::open(rewrite.complete()?)?)?.without(omitted)
}
