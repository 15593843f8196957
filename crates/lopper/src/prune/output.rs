//! What a run writes: a copy of the input with some tensors replaced, or what is left of that when whole neurons are taken out.

use std::path::Path;

use super::compact::cuts;
use super::job::Job;
use super::journal::Journal;
use crate::checkpoint::{Changes, Checkpoint, Composition, Rewrite};
use crate::error::Result;
use crate::model::{Decoder, UnitKind};
use crate::plan::Narrowing;
use crate::progress::Event;
use crate::report::{Shrunk, Stage};

/// The files of a run.
pub(super) enum Output<'a> {
    /// Of the shape of the input.
    Copy(Rewrite<'a>),
    /// Smaller.
    Smaller(Composition),
}

impl Output<'_> {
    /// Takes neurons and blocks out of a model that is complete, and says what that comes to.
    pub fn smaller(
        job: &mut Job,
        (narrowings, config): (&[Narrowing], &serde_json::Value),
        full: &Decoder,
        (out, journal): (&Path, &Journal),
    ) -> Result<(Self, Shrunk)> {
        job.observer.event(Event::Stage { name: "writing the smaller model" });
        let cuts = cuts(full, narrowings)?;
        let changes = Changes { cuts, name: &|name| full.spec().renumbered(name), config };
        let composition = job
            .timings
            .measure(Stage::Write, || Composition::write(full.checkpoint(), (out, journal.smaller()), &changes))?;
        let small = Decoder::open(Checkpoint::open(composition.directory())?)?;
        let (models, blocks) = ([full, &small], small.spec().blocks.len());
        let gone = full.spec().gone.len();
        let of = |kind| {
            let own = narrowings.iter().find(|narrowing| narrowing.kind == kind);
            own.map(|narrowing| [narrowing.of, narrowing.keep])
        };
        let shrunk = Shrunk {
            width: of(UnitKind::Neuron),
            kv_heads: of(UnitKind::KvHead),
            depth: (gone > 0).then_some([blocks + gone, blocks]),
            parameters: models.map(|model| model.checkpoint().total_elements()),
            bytes: models.map(|model| model.checkpoint().total_bytes()),
        };
        Ok((Self::Smaller(composition), shrunk))
    }

    /// The model as it will be read; of a copy, without the blocks that are to go.
    pub fn open(&mut self, gone: &[usize]) -> Result<Decoder> {
        match self {
            Self::Copy(rewrite) => open(rewrite, gone),
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

/// The model as it has been written so far, without the blocks that are to go.
pub(super) fn open(rewrite: &mut Rewrite, gone: &[usize]) -> Result<Decoder> {
    Ok(Decoder::open(Checkpoint::open(rewrite.complete()?)?)?.without(gone))
}
