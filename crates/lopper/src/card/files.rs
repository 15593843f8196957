//! Cards as files beside the weights. The card of an input is kept, under another name.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::scores::{is_same_task, is_same_text};
use super::{card, is_ours};
use crate::error::{Error, Result};
use crate::evaluation::Scores;
use crate::report::{ScoredModel, Summary};

/// The card of a model.
pub const CARD: &str = "README.md";
/// The card of its input.
pub(super) const BASE: &str = "README-base.md";
/// Models that were made from each other, at most.
const LONGEST_CHAIN: usize = 99;

/// Cards that an input leaves to its output, by their names there: its own, and those of the inputs that it has cards of.
///
/// # Errors
/// If one cannot be read.
pub fn base_cards(input: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut cards = Vec::new();
    let names =
        [CARD.to_owned(), BASE.to_owned()].into_iter().chain((2..LONGEST_CHAIN).map(|n| format!("README-base-{n}.md")));
    let names: Vec<String> = names.collect();
    for pair in names.windows(2) {
        let path = input.join(&pair[0]);
        if !path.is_file() {
            break;
        }
        cards.push((pair[1].clone(), fs::read(&path).map_err(Error::io("read", &path))?));
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
/// if it was compared with that under the name that the report has).
/// A card that this program has not written, as it lies in outputs of its early versions, is that of the input, and kept as such.
/// Returns the path of the card.
///
/// # Errors
/// If there is no report, or a file cannot be read or written.
pub fn remake(model: &Path, scores: &[PathBuf]) -> Result<PathBuf> {
    let mut summary = Summary::read(model)?.ok_or_else(|| Error::Checkpoint {
        path: model.into(),
        problem: format!("there is no {} of `lopper prune`", Summary::FILE),
        hint: Some("name the directory that `lopper prune` wrote".into()),
    })?;
    for path in scores {
        let Measured { scores, against } = measured(path)?;
        let Summary { made, evaluation, .. } = &mut summary;
        evaluation.last_mut().into_iter().for_each(|model| add(model, &scores));
        let dense = against.filter(|against| against.model == made.model.path);
        evaluation.first_mut().zip(dense).into_iter().for_each(|(model, dense)| add(model, &dense.scores));
    }
    let (path, base) = (model.join(CARD), model.join(BASE));
    let known = read(&path)?;
    if known.as_deref().is_some_and(|card| !is_ours(card)) {
        if base.exists() {
            return Err(Error::Checkpoint {
                path,
                problem: "this card was not written by lopper, and would be lost".into(),
                hint: Some("move it elsewhere first".into()),
            });
        }
        fs::rename(&path, &base).map_err(Error::io("rename", &path))?;
    }
    let text = card(&name_of(model), &summary, read(&base)?.as_deref());
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    Ok(path)
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
