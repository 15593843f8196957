//! What a run writes: a copy of the input with some tensors replaced, or what is left of that when whole neurons are taken out.

use std::path::Path;

use super::compact::cuts;
use super::job::Job;
use super::journal::Journal;
use crate::checkpoint::{Checkpoint, Composition, Rewrite};
use crate::error::Result;
use crate::model::Decoder;
use crate::plan::Width;
use crate::report::{Shrunk, Stage};

/// The files of a run.
pub(super) enum Output<'a> {
    /// Of the shape of the input.
    Copy(Rewrite<'a>),
    /// Smaller.
    Smaller(Composition),
}

impl Output<'_> {
    /// Takes neurons out of a model that is complete, and says what that comes to.
    pub fn smaller(
        job: &mut Job,
        (width, config): (&Width, &serde_json::Value),
        full: &Decoder,
        (out, journal): (&Path, &Journal),
    ) -> Result<(Self, Shrunk)> {
        let cuts = cuts(job, full, width)?;
        let composition = job
            .timings
            .measure(Stage::Write, || Composition::write(full.checkpoint(), (out, journal.smaller()), &cuts, config))?;
        let small = Decoder::open(Checkpoint::open(composition.directory())?)?;
        let models = [full, &small];
        let shrunk = Shrunk {
            width: [width.of, width.keep],
            parameters: models.map(|model| model.checkpoint().total_elements()),
            bytes: models.map(|model| model.checkpoint().total_bytes()),
        };
        Ok((Self::Smaller(composition), shrunk))
    }

    /// The model as it will be read.
    pub fn open(&mut self) -> Result<Decoder> {
        let directory = match self {
            Self::Copy(rewrite) => rewrite.complete()?,
            Self::Smaller(composition) => composition.directory(),
        };
        Decoder::open(Checkpoint::open(directory)?)
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
