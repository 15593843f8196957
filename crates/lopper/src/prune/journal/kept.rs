//! The hidden states that a run keeps beside its journal, a file for each of them.

use std::fs::{self, File};
use std::io::BufReader;

use crate::calibration::HiddenStates;
use crate::checkpoint::Unfinished;
use crate::error::Result;
use crate::model::Decoder;
use crate::prune::job::Job;
use crate::prune::states::States;
use crate::schedule::State;

/// What the files are called.
const NAMES: [(State, &str); 2] = [(State::Inputs, "inputs"), (State::Dense, "dense")];

/// Names of the files after so many blocks.
pub(super) fn names(blocks: usize) -> [String; 2] {
    NAMES.map(|(_, name)| file_name(name, blocks))
}

fn file_name(name: &str, blocks: usize) -> String {
    format!("{name}-{blocks}")
}

/// Reads the states that are `wanted`, as they were after so many blocks.
///
/// # Errors
/// If a file is damaged, or of other sequences.
pub(super) fn read(
    unfinished: &Unfinished,
    blocks: usize,
    wanted: impl Iterator<Item = State>,
    decoder: &Decoder,
    job: &Job,
) -> Result<States> {
    let mut states = States::default();
    for state in wanted {
        for (_, name) in NAMES.into_iter().filter(|(known, _)| *known == state) {
            let path = unfinished.path(&file_name(name, blocks));
            let read = |file| HiddenStates::read(BufReader::new(file), &job.storage);
            let problem = match File::open(&path).and_then(read) {
                Ok(kept) if kept.fits(&job.samples, decoder.spec().hidden) => {
                    states.set(state, kept);
                    continue;
                }
                Ok(_) => "these are not the hidden states of the calibration windows".into(),
                Err(error) => format!("the hidden states cannot be read: {error}"),
            };
            return Err(unfinished.damaged(path, problem));
        }
    }
    Ok(states)
}

/// Writes the states after so many blocks.
///
/// # Errors
/// If they cannot be written.
pub(super) fn write(unfinished: &Unfinished, blocks: usize, states: &[(State, &HiddenStates)]) -> Result<()> {
    for (state, name) in NAMES {
        for (_, states) in states.iter().filter(|(known, _)| *known == state) {
            // in pieces of a megabyte: no buffer
            unfinished.write(&file_name(name, blocks), |file| states.write(file))?;
        }
    }
    Ok(())
}

/// Removes the states after so many blocks, which the journal no longer names; where that fails, or there are none, they do no harm.
pub(super) fn remove(unfinished: &Unfinished, blocks: usize) {
    for name in names(blocks) {
        let _ = fs::remove_file(unfinished.path(&name));
    }
}
