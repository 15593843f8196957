//! Cards as files beside the weights. The card of an input is kept, under another name.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::scores::{is_same_task, is_same_text};
use super::{card, is_ours};
use crate::checkpoint::{BASE_CARD, CARD, card_names, replace};
use crate::error::{Error, Result};
use crate::evaluation::Scores;
use crate::report::{ModelFacts, ScoredModel, Summary};

/// Cards that an input leaves to its output, by their names there: its own, and those of the inputs that it has cards of, some of which may
/// be missing.
///
/// # Errors
/// If one cannot be read.
pub fn base_cards(input: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut cards = Vec::new();
    for (here, there) in card_names().zip(card_names().skip(1)) {
        let path = input.join(here);
        if path.is_file() {
            cards.push((there, fs::read(&path).map_err(Error::io("read", &path))?));
        }
    }
    Ok(cards)
}

/// What a model in a directory is called: as the directory, which need not exist yet.
pub fn name_of(directory: &Path) -> String {
    let resolved = directory.canonicalize();
    let name = resolved.as_deref().unwrap_or(directory).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What `lopper eval --json` prints, as far as a card tells it.
#[derive(Deserialize)]
struct Measured {
    /// As `lopper eval` was told.
    model: String,
    #[serde(flatten)]
    scores: Scores,
    against: Option<Against>,
}

/// The model that it was compared with.
#[derive(Deserialize)]
struct Against {
    model: String,
    #[serde(flatten)]
    scores: Scores,
}

/// Makes the card of a pruned model anew, from its report, and scores that `lopper eval --json` has printed of it since (and of its input,
/// if it was compared with that under the name that the report has). Returns the path of the card.
///
/// # Errors
/// If there is no report, the card there was not written by this program, scores are of another model, or a file cannot be read or written.
pub fn remake(model: &Path, scores: &[PathBuf]) -> Result<PathBuf> {
    let mut summary = Summary::read(model)?.ok_or_else(|| Error::Checkpoint {
        path: model.into(),
        problem: format!("there is no {} of `lopper prune`", Summary::FILE),
        hint: Some("name the directory that `lopper prune` wrote".into()),
    })?;
    let (path, base) = (model.join(CARD), model.join(BASE_CARD));
    if read(&path)?.is_some_and(|card| !is_ours(&card)) {
        let of_input = if base.exists() { "" } else { "if it is the card of the input, name it README-base.md; else " };
        return Err(Error::Checkpoint {
            path,
            problem: "this card was not written by lopper, and would be lost".into(),
            hint: Some(format!("{of_input}move it elsewhere first")),
        });
    }
    for path in scores {
        let Measured { model: named, scores, against } = measured(path)?;
        if !is_of(&named, model, &summary.made.model) {
            return Err(Error::Text {
                problem: format!("{}: these are scores of {named:?}, not of {}", path.display(), model.display()),
                hint: Some(format!("lopper eval {} --text FILE --json > scores.json", model.display())),
            });
        }
        let Summary { made, evaluation, .. } = &mut summary;
        evaluation.last_mut().into_iter().for_each(|model| add(model, &scores));
        let dense = against.filter(|against| against.model == made.model.path);
        evaluation.first_mut().zip(dense).into_iter().for_each(|(model, dense)| add(model, &dense.scores));
    }
    replace(&path, card(&name_of(model), &summary, read(&base)?.as_deref()).as_bytes())?;
    Ok(path)
}

/// Whether `lopper eval` meant the directory of a model by a name. A relative path began where that ran: one that leads nowhere from here
/// has to end in the name of the directory, and may not be that of the input.
fn is_of(named: &str, model: &Path, input: &ModelFacts) -> bool {
    if let (Ok(named), Ok(model)) = (Path::new(named).canonicalize(), model.canonicalize()) {
        return named == model;
    }
    let id = input.hub.as_ref().map(|hub| hub.id.as_str());
    let is_input = named == input.path || named.split('@').next() == id;
    !is_input && name_of(Path::new(named)) == name_of(model)
}

/// The text of a file, whatever bytes it has; none where there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn measured(path: &Path) -> Result<Measured> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Text {
        problem: format!("{}: not what `lopper eval --json` prints: {error}", path.display()),
        hint: Some("lopper eval MODEL --text FILE --json > scores.json".into()),
    })
}

/// Adds scores of a model; of what was scored before, the later score holds.
fn add(model: &mut ScoredModel, Scores { texts, tasks }: &Scores) {
    let known = &mut model.scores;
    known.texts.retain(|one| texts.iter().all(|other| !is_same_text(one, other)));
    known.texts.extend_from_slice(texts);
    known.tasks.retain(|one| tasks.iter().all(|other| !is_same_task(one, other)));
    known.tasks.extend_from_slice(tasks);
}
